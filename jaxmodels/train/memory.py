"""Whether a compiled step fits the memory, before anything runs."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax

from jaxmodels.errors import InputError
from jaxmodels.train.config import Config, flags_of

_CGROUP = Path("/sys/fs/cgroup")


def require_memory(compiled: jax.stages.Compiled, config: Config, resident: int = 0) -> None:
    """Compares what the compiler says a step needs with what is free.

    resident: bytes of its arguments that lie on each device already.

    Raises:
      InputError: it does not fit; it names the bytes and a batch size that would.
    """
    stats: Any = compiled.memory_analysis()
    if stats is None:
        return
    fixed = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    fixed = max(fixed - resident, 0)
    varying = stats.temp_size_in_bytes
    available = available_memory()
    if available is None or fixed + varying <= available:
        return
    run = config.run
    needed = f"a step needs {_readable(fixed + varying)}, and {_readable(available)} are free"
    fitting = int(run.batch_size * max(available - fixed, 0) / max(varying, 1))
    devices = jax.device_count()
    fitting = fitting // devices * devices
    if fitting < devices:
        raise InputError(
            f"the model does not fit the memory: {needed}, of which"
            f" {_readable(fixed)} for parameters, optimizer and data; expected a smaller model"
        )
    parts, flag = -(-run.batch_size // fitting), flags_of(config).get("accumulate")
    accumulate = f", or --accumulate {max(parts, 2 * flag.value)}" if flag else ""
    raise InputError(
        f"batch_size = {run.batch_size} does not fit the memory: {needed}; expected about"
        f" --batch-size {fitting}{accumulate}"
    )


def available_memory() -> int | None:
    """Returns the free bytes of one device; devices that are a CPU share the memory of the host.
    None where the system does not say."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    limits = [limit for limit in (_free_on_host(), _free_in_group()) if limit is not None]
    return min(limits) // jax.local_device_count() if limits else None


def _free_on_host() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _free_in_group() -> int | None:
    """Returns the bytes that the limit of a container leaves."""
    with contextlib.suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        return limit - int((_CGROUP / "memory.current").read_text())
    return None


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
