"""Many members of one kind, such as the seeds of an experiment, in one program."""

from collections.abc import Callable

import jax
from jax import lax


def map_members(function: Callable) -> Callable:
    """`jax.vmap(function)`, over the leading axes of all arguments; but on a CPU one member after
    another, whose activations then stay in the cache: four small CNNs take 3.9 times as long as
    one, under `vmap` 4.5 times.
    """

    def one_by_one(*members):
        return lax.map(lambda member: function(*member), members)

    def mapped(*members):
        return lax.platform_dependent(*members, cpu=one_by_one, default=jax.vmap(function))

    return mapped
