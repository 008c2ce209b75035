"""Errors a user can act on: each names the field, the value, what was expected and the fix."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Bad input. The command line prints the message and exits with code 2. It is one line, though
    a value that it quotes may have several."""

    def __init__(self, message: str = ""):
        super().__init__(" ".join(message.splitlines()))


class RunError(RuntimeError):
    """A run that failed while running (say, a non-finite loss). Exit code 1."""


class Stopped(Exception):
    """A stop on request while a run is prepared (its judge is trained); resumable. Exit code 75."""


def closest(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean '...'?" with the most similar known name, or "." if none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else "."


def listed(names: Sequence[str], most: int = 10) -> str:
    """Lists names for a message: the first of many, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises InputError, with the nearest known name, unless `name` is one of `known`."""
    known = sorted(known)
    if name not in known:
        hint = closest(name, known)
        raise InputError(f"unknown {kind} '{name}'{hint} Known: {', '.join(known)}")
