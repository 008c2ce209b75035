"""Numerics that XLA lacks or lowers badly."""

from jaxmodels.ops.convolution import conv, conv_transpose
from jaxmodels.ops.cross_entropy import softmax_cross_entropy
from jaxmodels.ops.pooling import max_pool

__all__ = ["conv", "conv_transpose", "max_pool", "softmax_cross_entropy"]
