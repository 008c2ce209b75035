"""A value in memory, whatever XLA thinks."""

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array

# One for all calls: a new function would be traced anew at each.
_identity = jax.jit(lambda x: x)


def materialize(x: Array) -> Array:
    """x, computed once, before what reads it.

    XLA's CPU backend fuses what is cheap into every place that reads it: a normalisation, say, is
    computed anew for each of the 24 sums that read it, or in an order that suits the reader and
    misses the cache (a ResNet-18 took 1.4 times as long). It takes `lax.optimization_barrier` away
    before it does so; a call that it may not inline is the one boundary that it keeps.
    """
    with set_xla_metadata(inlineable="false"):
        return _identity(x)
