"""Faults of a run's surroundings in one line each: full disks, missing devices, no memory."""

import re
from typing import Any

import jax

from jaxmodels.errors import InputError

_IN_NAMES = (2, 20, 22, 36, 40)  # ENOENT, ENOTDIR, EINVAL, ENAMETOOLONG, ELOOP


def require_runtime() -> None:
    """Checks the settings of jax in the environment.

    Raises:
      InputError: programs are not compiled, or there is no such device.
    """
    config: Any = jax.config  # its type does not declare its flags
    if config.jax_disable_jit:
        raise InputError(
            "JAX_DISABLE_JIT is set; the engine only runs compiled programs: unset it (--debug"
            " finds the first operation that is not finite)"
        )
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = config.jax_platforms or "unset"
        said = (str(error).splitlines() or ["none at all"])[0]
        raise InputError(
            f"JAX_PLATFORMS is {wanted}, and jax finds no such device: {said}; unset it, or install"
            " jax for that platform"
        ) from None


def describe_fault(error: BaseException) -> str | None:
    """Describes a fault of the machine in one line; None for an error of the program."""
    if isinstance(error, OSError):
        path = error.filename or "standard output or another open file"
        return f"{path}: {error.strerror or error}"
    if isinstance(error, jax.errors.JaxRuntimeError) and jax.distributed.is_initialized():
        first = str(error).strip().splitlines()[0][:200]
        return (
            f"another process is gone, or the network: {first}; the same command in all processes"
            " goes on from the last checkpoint"
        )
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        asked = re.search(r"allocat\w+ (?:of )?([\d.]+) ?(\w*)", str(error))
        of = f" ({asked.group(1)} {asked.group(2) or 'bytes'} were asked for)" if asked else ""
        return (
            f"out of memory{of}; lower --batch-size or --eval-batch-size, raise --accumulate, or"
            " make the model smaller. The last checkpoint is kept"
        )
    return None


def is_bad_path(error: BaseException) -> bool:
    """Whether a fault lies in the name of a path that the user gave."""
    return isinstance(error, OSError) and error.errno in _IN_NAMES


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in text or "ut of memory" in text
    )
