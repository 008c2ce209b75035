"""Augmentation of images as stored, inside the compiled step.

Whatever is drawn is drawn from one key per example (`jaxmodels.protocol.example_keys`), so that it
does not depend on the number of devices; each random function has one beside it without chance.
"""

from jaxmodels.ops.augmentation.crops import crop, flip, random_crop, random_flip
from jaxmodels.ops.augmentation.erasing import random_erasing
from jaxmodels.ops.augmentation.mixing import cutmix, cutmix_box, mixup, random_mix
from jaxmodels.ops.augmentation.rand_augment import OPERATIONS, rand_augment
from jaxmodels.ops.augmentation.warps import warp

__all__ = [
    "OPERATIONS",
    "crop",
    "cutmix",
    "cutmix_box",
    "flip",
    "mixup",
    "rand_augment",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_mix",
    "warp",
]
