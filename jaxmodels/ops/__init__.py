"""Array functions that XLA lacks, or compiles to slow code on a CPU."""

from jaxmodels.ops.convolution import conv, conv_transpose
from jaxmodels.ops.convolution_cpu import cpu_compiler_options
from jaxmodels.ops.cross_entropy import softmax_cross_entropy
from jaxmodels.ops.diff_augment import AUGMENTATIONS, diff_augment
from jaxmodels.ops.hash_bits import example_seeds, hash_bits, hash_dropout, seeds_for
from jaxmodels.ops.head_cross_entropy import HeadLosses, head_cross_entropy, soft_cap
from jaxmodels.ops.members import map_members
from jaxmodels.ops.pooling import (
    average_pool,
    downsample_bilinear,
    max_pool,
    upsample,
    upsample_bilinear,
)
from jaxmodels.ops.second_derivatives import with_second_derivatives

__all__ = [
    "AUGMENTATIONS",
    "HeadLosses",
    "average_pool",
    "conv",
    "conv_transpose",
    "cpu_compiler_options",
    "diff_augment",
    "downsample_bilinear",
    "example_seeds",
    "hash_bits",
    "hash_dropout",
    "head_cross_entropy",
    "map_members",
    "max_pool",
    "seeds_for",
    "soft_cap",
    "softmax_cross_entropy",
    "upsample",
    "upsample_bilinear",
    "with_second_derivatives",
]
