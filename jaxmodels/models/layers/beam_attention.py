"""Attention while texts are searched for by several beams: nothing of a cache is ever copied.

Beams that go on from another one would copy its keys and values at each token, which takes as long
as everything else. Here a beam remembers instead which beam has written what it sees at each place,
and its queries meet the keys of all beams of its text, in one product. Keys and values stand with
their heads first, as the products read them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.ops.materialize import materialize_on_cpu


class BeamCache(NamedTuple):
    """The keys and values of one layer, of all beams of each text.

    beam: the beam that has written what a beam sees at each place.
    """

    key: Float[Array, "texts groups beams length size"]
    value: Float[Array, "texts groups beams length size"]
    beam: Int[Array, "texts beams length"]

    @classmethod
    def of(
        cls,
        key: Float[Array, "texts length groups size"],
        value: Float[Array, "texts length groups size"],
        beams: int,
    ) -> "BeamCache":
        """Makes the cache of so many beams, which all begin as their text does."""
        texts, length, groups, size = key.shape
        shape = texts, groups, beams, length, size
        keys, values = (jnp.broadcast_to(x.swapaxes(1, 2)[:, :, None], shape) for x in (key, value))
        return cls(keys, values, _own_beam((texts, beams, length)))

    @property
    def length(self) -> int:
        """The places."""
        return self.key.shape[3]

    def reordered(
        self, parent: Int[Array, "texts beams"], written: Int[Array, " texts"]
    ) -> "BeamCache":
        """Gives each beam what its parent has at the first `written` places."""
        beam = jnp.take_along_axis(self.beam, parent[..., None], axis=1)
        is_written = jnp.arange(self.length) < written[:, None, None]
        return self._replace(beam=jnp.where(is_written, beam, _own_beam(beam.shape)))


def _own_beam(shape: tuple[int, ...]) -> Int[Array, "texts beams length"]:
    return jnp.broadcast_to(jnp.arange(shape[1])[:, None], shape)


class Remembered(NamedTuple):
    """The keys and values of a memory that a decoder reads again and again."""

    key: Float[Array, "batch groups source size"]
    value: Float[Array, "batch groups source size"]

    @classmethod
    def of(
        cls,
        key: Float[Array, "batch source groups size"],
        value: Float[Array, "batch source groups size"],
    ) -> "Remembered":
        """Puts the heads first."""
        return cls(key.swapaxes(1, 2), value.swapaxes(1, 2))


def attention_to(
    query: Float[Array, "rows new heads size"],
    memory: Remembered,
    valid: Bool[Array, "batch source"] | None,
    scale: float | None = None,
) -> Float[Array, "rows new heads size"]:
    """Attends to a memory, each row of which is read by as many rows of queries, side by side, as
    there are beams.

    valid: the places that exist; None: all do. A query that sees none gives zeros.
    """
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    texts, groups, _, size = memory.key.shape
    queries = _heads_first(query, texts, groups)
    mask = None if valid is None else valid[:, None, None]
    flat = queries.reshape(texts, groups, -1, size)
    out = _attended(factor * _scores(flat, memory.key), memory.value, mask, valid is not None)
    return _heads_back(out.reshape(queries.shape), query.shape)


def beam_attention(
    query: Float[Array, "rows new heads size"],
    key: Float[Array, "rows new groups size"],
    value: Float[Array, "rows new groups size"],
    cache: BeamCache,
    start: Int[Array, " rows"],
    window: int,
    scale: float,
    bias: Float[Array, "biases heads new length"] | None,
) -> tuple[Float[Array, "rows new heads size"], BeamCache]:
    """Does what `cached_attention` does for rows that are beams; those of a text have one start."""
    texts, groups, beams, length, size = cache.key.shape
    new = query.shape[1]
    starts = start[::beams]

    def written(old, x):
        x = x.reshape(texts, beams, new, groups, size).transpose(0, 3, 1, 2, 4)
        write = jax.lax.dynamic_update_slice_in_dim
        return jax.vmap(lambda old, x, at: write(old, x, at, 2))(old, x, starts)

    cache = cache._replace(key=written(cache.key, key), value=written(cache.value, value))
    queries = _heads_first(query, texts, groups)  # [texts, groups, beams, new, each, size]
    flat = queries.reshape(texts, groups, -1, size)
    scores = scale * _scores(flat, cache.key.reshape(texts, groups, -1, size))
    scores = scores.reshape(*queries.shape[:-1], beams, length)
    if bias is not None:
        bias = jnp.broadcast_to(bias, (texts * beams, *bias.shape[1:]))
        bias = bias.reshape(texts, beams, groups, -1, new, length).transpose(0, 2, 1, 4, 3, 5)
        scores += bias[..., None, :].astype(scores.dtype)
    places = (starts[:, None] + jnp.arange(new))[:, :, None]  # [texts, new, 1]
    seen = jnp.arange(length) <= places
    if window:
        seen &= jnp.arange(length) > places - window
    is_own = cache.beam[:, :, None] == jnp.arange(beams)[:, None]  # [texts, beams, beams, length]
    mask = is_own[:, None, :, None, None] & seen[:, None, None, :, None, None]
    mask = jnp.broadcast_to(mask, (texts, 1, *scores.shape[2:]))
    scores, mask = (x.reshape(texts, x.shape[1], -1, beams * length) for x in (scores, mask))
    out = _attended(scores, cache.value.reshape(texts, groups, -1, size), mask, False)
    return _heads_back(out.reshape(queries.shape), query.shape), cache


def _heads_first(query, texts: int, groups: int):
    """Makes [texts, groups, beams, new, heads of a group, size] of [rows, new, heads, size]."""
    _, new, _, size = query.shape
    divided = query.reshape(texts, -1, new, groups, query.shape[2] // groups, size)
    return divided.transpose(0, 3, 1, 2, 4, 5)


def _heads_back(out, shape: tuple[int, ...]):
    return out.transpose(0, 2, 3, 1, 4, 5).reshape(shape)


def _scores(query, key):
    wide = jnp.promote_types(query.dtype, jnp.float32)
    return jnp.einsum("tgqd,tgkd->tgqk", query, key, preferred_element_type=wide)


def _attended(scores, value, mask, empty: bool):
    weights, total = attention_weights(scores, mask, empty)
    out = jnp.einsum("tgqk,tgkd->tgqd", weights.astype(value.dtype), value)
    return out / total.astype(value.dtype)


def attention_weights(scores, mask, empty=False):
    """Computes exp(scores - their maximum), and its sum over keys, by which the output is divided:
    it has fewer numbers than the weights.

    mask: which keys a query sees, or None. empty: there may be queries that see nothing.
    """
    if mask is not None:
        # A finite number, so that a query that sees nothing has neither NaN nor gradient.
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = materialize_on_cpu(jnp.exp(scores - largest))
    if empty and mask is not None:
        weights = jnp.where(mask, weights, 0)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights, jnp.where(total == 0, 1, total) if empty else total
