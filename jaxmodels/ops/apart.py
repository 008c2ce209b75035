"""Keeps XLA from merging a computation into its surroundings."""

from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def run_apart(run: Callable, *operands):
    """`run` of operands that are in memory, to results that are.

    XLA's CPU backend fuses what is cheap into every place that reads it: a normalisation, say, is
    computed anew for each of the 24 sums that read it, or in an order that suits the reader and
    misses the cache (a ResNet-18 took 1.4 times as long). A call that it may not inline is the one
    boundary that it keeps. There must be no communication inside: with several devices in one
    process, XLA would not keep its order.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(run)(*operands)
