"""Numerics that XLA lacks or lowers badly."""

from jaxmodels.ops.convolution import conv, conv_transpose, cpu_compiler_options
from jaxmodels.ops.cross_entropy import softmax_cross_entropy
from jaxmodels.ops.pooling import max_pool

__all__ = ["conv", "conv_transpose", "cpu_compiler_options", "max_pool", "softmax_cross_entropy"]
