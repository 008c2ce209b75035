"""Augmentation of images as stored, inside the compiled step.

A random function draws from one key per example (`jaxmodels.protocol.example_keys`), so that its
result does not depend on the number of devices. Each one has a deterministic counterpart that takes
the drawn numbers (`crop` for `random_crop`). Mixing draws once for the whole batch.
"""

from jaxmodels.ops.augmentation.boxes import (
    Boxed,
    erased_pictures,
    mixed_pictures,
    random_places,
)
from jaxmodels.ops.augmentation.color_jitter import CHANNELS as COLOR_JITTER_CHANNELS
from jaxmodels.ops.augmentation.color_jitter import Strengths, color_jitter
from jaxmodels.ops.augmentation.crops import crop, flip, random_crop, random_flip
from jaxmodels.ops.augmentation.erasing import random_erasing
from jaxmodels.ops.augmentation.mixing import cutmix, cutmix_box, mixup, random_mix
from jaxmodels.ops.augmentation.rand_augment import CHANNELS as RAND_AUGMENT_CHANNELS
from jaxmodels.ops.augmentation.rand_augment import OPERATIONS, rand_augment
from jaxmodels.ops.augmentation.tiles import Jitter
from jaxmodels.ops.augmentation.warps import warp

__all__ = [
    "COLOR_JITTER_CHANNELS",
    "OPERATIONS",
    "RAND_AUGMENT_CHANNELS",
    "Boxed",
    "Jitter",
    "Strengths",
    "color_jitter",
    "crop",
    "cutmix",
    "cutmix_box",
    "erased_pictures",
    "flip",
    "mixed_pictures",
    "mixup",
    "rand_augment",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_mix",
    "random_places",
    "warp",
]
