"""Whether a split lies on the device or is streamed to it."""

import os

import jax

_SHARE = 0.5  # of a device's memory; the rest is for the model


def fits_device(size: int) -> bool:
    """Whether data of so many bytes may lie on the device beside a model."""
    return size <= _SHARE * memory_of_device()


def memory_of_device() -> int:
    """Returns the bytes of one device; CPU devices share the memory of the machine."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
