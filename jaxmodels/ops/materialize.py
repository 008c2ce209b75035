"""A boundary that XLA's CPU backend does not fuse across."""

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array

from jaxmodels.ops.portable import traced_backend

# One jitted function serves all calls: JAX would trace a new one at each call.
_identity = jax.jit(lambda x: x)


def materialize(x: Array) -> Array:
    """Returns x and makes a CPU compute it once, into memory, before anything reads it.

    XLA's CPU backend fuses a cheap operation into every place that reads its result. A
    normalisation is then computed anew for each of the many sums that read it, or in an order that
    suits the reader and misses the cache. The backend removes `lax.optimization_barrier` before it
    fuses, so the boundary here is a call that it may not inline, the only one that it keeps.
    """
    with set_xla_metadata(inlineable="false"):
        return _identity(x)


def materialize_on_cpu(x: Array) -> Array:
    """Returns x; where programs run on a CPU, x and its gradient are materialized."""
    return _both_ways(x) if traced_backend() == "cpu" else x


# Without a rule of its own, differentiation takes the identity for what it is and leaves it out of
# the forward pass.
@jax.custom_jvp
def _both_ways(x: Array) -> Array:
    return materialize(x)


@_both_ways.defjvp
def _tangent(primals, tangents):
    return _both_ways(*primals), materialize(*tangents)
