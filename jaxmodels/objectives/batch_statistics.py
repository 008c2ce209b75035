"""Batch statistics for parameters that no training step has seen, such as averaged ones."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxmodels.protocol import PyTree

BATCHES, BATCH_SIZE = 8, 256


def recomputed_statistics(
    generator: nn.Module, variables: PyTree, latent_size: int, classes: int
) -> PyTree:
    """The collection "batch_stats" of a generator, as mean and variance over BATCHES * BATCH_SIZE
    fixed random latents (labels in turn): running averages belong to the parameters that were
    trained, not to their average (Wu & Johnson 2021, section 3).
    """

    def moments_of(key):
        latents = jax.random.normal(key, (BATCH_SIZE, latent_size))
        labels = jnp.arange(BATCH_SIZE) % classes if classes else None
        _, changed = generator.apply(
            variables, latents, labels, train=True, mutable=["batch_stats", "batch_moments"]
        )
        return changed["batch_moments"]

    keys = jax.random.split(jax.random.key(0), BATCHES)
    moments = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(moments_of, keys))
    return _to_statistics(moments)


def _to_statistics(moments: PyTree) -> PyTree:
    if "square" in moments:
        mean, square = moments["mean"], moments["square"]
        return {"mean": mean, "var": jnp.maximum(square - jnp.square(mean), 0)}
    return {name: _to_statistics(inner) for name, inner in moments.items()}
