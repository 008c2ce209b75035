"""Data by flags: what is loaded, and whether it lies on the device or is streamed."""

import os
from dataclasses import dataclass
from typing import Literal

import jax

from jaxmodels.data.images import ImageData
from jaxmodels.data.resident import Resident
from jaxmodels.data.streamed import Streamed
from jaxmodels.errors import InputError

_SHARE = 0.5  # of a device's memory; the rest is for the model


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """How images get to the device."""

    loading: Literal["auto", "resident", "streamed"] = "auto"
    """resident: all images lie on the device; streamed: they are read and decoded while it works;
    auto: resident where they fit into half of its memory."""
    image_size: int = 0
    """Side of the square that images are cut to while they are streamed: in training a random crop
    of 8% to 100% of the area, else the centre; 0: as they are."""
    workers: int = 0
    """Processes that decode streamed images; 0: threads, which are enough on one machine."""

    def validate(self) -> None:
        """Raises InputError for a number out of range, or for a crop of resident images."""
        for name in ("image_size", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 0")
        if self.image_size and self.loading == "resident":
            raise InputError(
                f"image_size = {self.image_size}, loading = resident; images are cut while they"
                " are streamed: expected --loading streamed or auto"
            )


def is_streamed(data: ImageData, config: LoadingConfig) -> bool:
    """Whether the images are read anew in every epoch.

    Raises:
      InputError: streaming of data that is not stored as encoded images.
    """
    wanted = config.loading == "streamed" or config.image_size > 0
    if wanted and not data.encoded:
        raise InputError(
            f"data '{data.name}' lies in arrays and cannot be streamed or cut: expected --loading"
            " resident or auto and --image-size 0"
        )
    if config.loading == "auto" and data.encoded:
        return wanted or data.decoded_bytes > _SHARE * memory_of_device()
    return wanted


def make_source(data: ImageData, split: str, config: LoadingConfig) -> Resident | Streamed:
    """The examples of a split as a source of batches.

    Raises:
      InputError: as `is_streamed`; images of several sizes that are not cut to one.
    """
    if is_streamed(data, config):
        return Streamed(data.encoded[split], config.image_size, config.workers)
    return Resident(data.splits[split])


def memory_of_device() -> int:
    """Bytes of one device; devices that are a CPU share its memory."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
