"""What the commands of this package have in common; they are python -m jaxmodels.NAME."""

import os
import sys
from collections.abc import Callable

from jaxmodels.errors import InputError, RunError

GOOD, BAD, BAD_INPUT = 0, 1, 2


def exit_code_of(command: Callable[[], int]) -> int:
    """Runs a command and returns its exit code; for bad input 2, after one line that says why."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return BAD
    except BrokenPipeError:
        # Nobody reads on (say, `| head`), so Python's flush at exit must not write to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return BAD
    except OSError as error:
        print(f"error: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
    return BAD_INPUT
