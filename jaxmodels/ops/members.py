"""Many members of one kind, such as the seeds of an experiment, in one program."""

from collections.abc import Callable
from operator import itemgetter

import jax
import jax.numpy as jnp
from jax import lax

# Up to this many members are unrolled; more run in a loop.
_MOST_UNROLLED = 8


def map_members(function: Callable) -> Callable:
    """Maps a function over the leading axes of all its arguments, as `jax.vmap(function)` does.

    On a CPU the members run one after another, because the activations of one member stay in the
    cache. Everywhere else it is `jax.vmap`.
    """

    def mapped(*members):
        one_after_another, together = one_by_one(function), jax.vmap(function)
        return lax.platform_dependent(*members, cpu=one_after_another, default=together)

    return mapped


def one_by_one(function: Callable) -> Callable:
    """Maps a function over the leading axes of all its arguments, one member after another.

    A few members are unrolled, because in a loop within a loop, XLA's CPU backend runs fused
    operations on one thread only.
    """

    def mapped(*members):
        count = len(jax.tree.leaves(members)[0])
        if count > _MOST_UNROLLED:
            return lax.map(lambda member: function(*member), members)
        outputs = [function(*jax.tree.map(itemgetter(i), members)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

    return mapped
