"""What the commands of this package have in common; they are python -m jaxmodels.NAME."""

import sys
from collections.abc import Callable

from jaxmodels.errors import InputError

GOOD, BAD, BAD_INPUT = 0, 1, 2


def exit_code_of(command: Callable[[], int]) -> int:
    """Runs a command and returns its exit code; for bad input 2, after one line that says why."""
    try:
        return command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
    return BAD_INPUT
