"""Random windows of recordings, the same for every division of a batch among devices."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxmodels import across
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.protocol import Batch, example_keys


def make_random_windows(samples: int) -> Change:
    """Makes the function that cuts a window of so many samples out of each sound of a batch
    {"sound": Num[batch longer], "length": Int[batch], ...}, and gives the length of what is in it.

    All windows of a sound that lie in it are equally likely; that of a shorter one is its
    beginning. Draws depend on the key and on an example's position in the global batch.
    """

    def cut(batch: Batch, key: Key[Array, ""]) -> Batch:
        sound, length = batch["sound"], batch["length"]
        positions = batch.get("position", across.positions(len(sound)))
        places = jax.vmap(jax.random.uniform)(example_keys(key, positions))
        ends = jnp.maximum(length - samples, 0)
        starts = jnp.minimum((places * (ends + 1)).astype(jnp.int32), ends)
        take = partial(jax.lax.dynamic_slice_in_dim, slice_size=samples)
        window = jax.vmap(lambda row, start: take(row, start))(sound, starts)
        return {**batch, "sound": window, "length": jnp.minimum(length - starts, samples)}

    return cut
