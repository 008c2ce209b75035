"""Programs that are traced on one machine and run on others."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

# The backend and the number of devices that a program is traced for; None: those of this process.
_target: ContextVar[tuple[str, int] | None] = ContextVar("target", default=None)


@contextmanager
def portable() -> Iterator[None]:
    """Makes what is traced inside the same for every backend: nothing in it may choose by the
    backend of this process. Choices that are made when a program is lowered stay."""
    with traced_for("any", jax.device_count()):
        yield


@contextmanager
def traced_for(backend: str, devices: int) -> Iterator[None]:
    """Makes what is traced inside choose as it would where it runs: on so many devices of another
    backend."""
    token = _target.set((backend, devices))
    try:
        yield
    finally:
        _target.reset(token)


def traced_backend() -> str:
    """Returns the backend on which what is being traced will run: "any" inside of `portable`."""
    target = _target.get()
    return jax.default_backend() if target is None else target[0]


def target_backend() -> str:
    """Returns the backend whose speed counts: inside of `portable` that of this process."""
    backend = traced_backend()
    return jax.default_backend() if backend == "any" else backend


def traced_devices() -> int:
    """Returns on how many devices what is being traced will run."""
    target = _target.get()
    return jax.device_count() if target is None else target[1]
