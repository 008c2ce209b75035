"""Images from a trained generator, with batch statistics that belong to its parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxmodels import across
from jaxmodels.protocol import PyTree, example_keys

STATISTICS_BATCHES, STATISTICS_BATCH = 8, 256
CHUNK = 500


def draw_latents(
    key: Key[Array, ""],
    count: int,
    size: int,
    truncation: float = 0.0,
    positions: Int[Array, " count"] | None = None,
) -> Float[Array, "count size"]:
    """Draws standard normal latents, keyed per example (see `example_keys`).

    truncation: largest absolute value, beyond which numbers are drawn anew; 0: no limit.
    positions: of the examples; None: those of this device's share of the batch.
    """

    def draw(key):
        if truncation:
            return jax.random.truncated_normal(key, -truncation, truncation, (size,))
        return jax.random.normal(key, (size,))

    positions = across.positions(count) if positions is None else positions
    return jax.vmap(draw)(example_keys(key, positions))


def interpolate_latents(
    one: Float[Array, "*#batch size"],
    other: Float[Array, "*#batch size"],
    weight: Float[Array, "*#batch 1"],
) -> Float[Array, "*#batch size"]:
    """Moves from `one` (weight 0) to `other` (weight 1) along a sphere.

    Normal latents lie near a sphere, which a straight line would leave (White 2016, section 2.1).
    """
    norms = (
        jnp.linalg.norm(one, axis=-1, keepdims=True),
        jnp.linalg.norm(other, axis=-1, keepdims=True),
    )
    cosine = jnp.sum(one * other, -1, keepdims=True) / (norms[0] * norms[1])
    angle = jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999))
    return (jnp.sin((1 - weight) * angle) * one + jnp.sin(weight * angle) * other) / jnp.sin(angle)


def to_uint8(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Converts images in -1..1 to 0..255."""
    return jnp.round((images.clip(-1, 1) + 1) * 127.5).astype(jnp.uint8)


def generate(
    generator: nn.Module,
    variables: PyTree,
    latents: Float[Array, "count latent"],
    labels: Int[Array, " count"] | None,
) -> UInt8[Array, "count height width channels"]:
    """Generates images in evaluation mode, CHUNK at a time, to bound memory."""

    def images(pair):
        return to_uint8(generator.apply(variables, *pair, train=False))

    return in_chunks(images, (latents, labels))


def in_chunks(function: Callable[[PyTree], PyTree], columns: PyTree) -> PyTree:
    """Computes function(columns) for CHUNK rows at a time, to bound memory."""
    count = len(jax.tree.leaves(columns)[0])
    if count <= CHUNK:
        return function(columns)
    chunks = -(-count // CHUNK)

    def split(column):
        # The last row fills the last chunk, because columns may be keys, which cannot be zeros.
        index = jnp.minimum(jnp.arange(chunks * CHUNK), count - 1)
        return column[index].reshape(chunks, CHUNK, *column.shape[1:])

    outputs = jax.lax.map(function, jax.tree.map(split, columns))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], outputs)


def with_recomputed_statistics(
    generator: nn.Module, variables: PyTree, latent_size: int, classes: int
) -> PyTree:
    """Replaces "batch_stats", if the variables have any, by mean and variance over
    STATISTICS_BATCHES batches of STATISTICS_BATCH fixed random latents, with labels in turn.

    The running averages of training belong to the parameters that were trained, not to their
    average (Wu & Johnson 2021, section 3).
    """
    if not variables.get("batch_stats"):
        return variables

    def moments_of(key):
        latents = jax.random.normal(key, (STATISTICS_BATCH, latent_size))
        labels = jnp.arange(STATISTICS_BATCH) % classes if classes else None
        _, changed = generator.apply(
            variables, latents, labels, train=True, mutable=["batch_stats", "batch_moments"]
        )
        return changed["batch_moments"]

    keys = jax.random.split(jax.random.key(0), STATISTICS_BATCHES)
    moments = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(moments_of, keys))
    return {**variables, "batch_stats": _to_statistics(moments)}


def _to_statistics(moments: PyTree) -> PyTree:
    """Converts mean and mean square, wherever they are in the tree, to mean and variance."""
    if "square" in moments:
        mean, square = moments["mean"], moments["square"]
        return {"mean": mean, "var": jnp.maximum(square - jnp.square(mean), 0)}
    return {name: _to_statistics(inner) for name, inner in moments.items()}
