"""Many members of one kind, such as the seeds of an experiment, in one program."""

from collections.abc import Callable
from operator import itemgetter

import jax
import jax.numpy as jnp
from jax import lax

_WRITTEN_OUT = 8


def map_members(function: Callable) -> Callable:
    """`jax.vmap(function)`, over the leading axes of all arguments; but on a CPU one member after
    another, whose activations then stay in the cache: four small CNNs take 3.9 times as long as
    one, under `vmap` 4.1 times.
    """

    def mapped(*members):
        one_after_another, together = one_by_one(function), jax.vmap(function)
        return lax.platform_dependent(*members, cpu=one_after_another, default=together)

    return mapped


def one_by_one(function: Callable) -> Callable:
    """`jax.vmap(function)` as a loop. A few members are written out: within a loop in a loop, XLA's
    CPU backend runs what it fuses on one thread."""

    def mapped(*members):
        count = len(jax.tree.leaves(members)[0])
        if count > _WRITTEN_OUT:
            return lax.map(lambda member: function(*member), members)
        each = [function(*jax.tree.map(itemgetter(i), members)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    return mapped
