"""Numerics that XLA lacks or lowers badly."""

from jaxmodels.ops.convolution import conv, conv_transpose
from jaxmodels.ops.convolution_cpu import cpu_compiler_options
from jaxmodels.ops.cross_entropy import softmax_cross_entropy
from jaxmodels.ops.diff_augment import AUGMENTATIONS, diff_augment
from jaxmodels.ops.pooling import average_pool, max_pool, upsample

__all__ = [
    "AUGMENTATIONS",
    "average_pool",
    "conv",
    "conv_transpose",
    "cpu_compiler_options",
    "diff_augment",
    "max_pool",
    "softmax_cross_entropy",
    "upsample",
]
