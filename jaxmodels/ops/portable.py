"""Programs that are traced on one backend and run on others."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_is_portable: ContextVar[bool] = ContextVar("portable", default=False)


@contextmanager
def portable() -> Iterator[None]:
    """Makes what is traced inside the same for every backend: nothing in it may choose by the
    backend of this process. Choices that are made when a program is lowered stay."""
    token = _is_portable.set(True)
    try:
        yield
    finally:
        _is_portable.reset(token)


def traced_backend() -> str:
    """Returns the backend on which what is being traced will run: "any" inside of `portable`."""
    return "any" if _is_portable.get() else jax.default_backend()
