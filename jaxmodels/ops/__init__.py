"""Array functions that XLA lacks, or compiles to slow code on a CPU."""

from jaxmodels.ops.convolution import conv, conv_transpose
from jaxmodels.ops.convolution_cpu import cpu_compiler_options
from jaxmodels.ops.cross_entropy import softmax_cross_entropy
from jaxmodels.ops.diff_augment import AUGMENTATIONS, diff_augment
from jaxmodels.ops.members import map_members
from jaxmodels.ops.pooling import (
    average_pool,
    downsample_bilinear,
    max_pool,
    upsample,
    upsample_bilinear,
)

__all__ = [
    "AUGMENTATIONS",
    "average_pool",
    "conv",
    "conv_transpose",
    "cpu_compiler_options",
    "diff_augment",
    "downsample_bilinear",
    "map_members",
    "max_pool",
    "softmax_cross_entropy",
    "upsample",
    "upsample_bilinear",
]
