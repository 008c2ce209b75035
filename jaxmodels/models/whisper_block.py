"""The blocks of Whisper: Vaswani et al. 2017, normalised first, with keys that have no bias."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels import across
from jaxmodels.models.layers import Dense, LayerNorm, Rate
from jaxmodels.models.layers.attention import AnyCache, attention, cached_attention
from jaxmodels.ops import example_seeds, hash_dropout, seeds_for
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.ops.one_row import one_row_dot_general

Drop = Callable[[int, Array], Array]  # (use in the block, x) -> x


class Sounds(NamedTuple):
    """Keys and values of sounds, as one block of the decoder reads them."""

    key: Float[Array, "batch places heads size"]
    value: Float[Array, "batch places heads size"]


def drop_of(module: nn.Module, batch: int, rate: Rate) -> Callable | None:
    """Makes the dropout of a pass, (place of the block, use, x) -> x; None without a rate."""
    if rate is None:
        return None
    seeds = example_seeds(module.make_rng("dropout"), across.positions(batch))
    return lambda place, use, x: hash_dropout(x, rate, seeds_for(seeds, place + use))


def _nothing(use: int, x: Array) -> Array:
    return x


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), with the exact GELU."""

    heads: int
    deviation: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], drop: Drop | None = None
    ) -> Float[Array, "batch length width"]:
        drop = drop or _nothing
        sizes = self.heads, self.deviation, self.dtype, x.shape[-1]
        attend = Attention(*sizes, name="attention")
        y = attend(LayerNorm(dtype=self.dtype, name="norm1")(x), causal=False)
        x = x + drop(0, y)
        mlp = MLP(self.deviation, self.dtype, name="mlp")
        return x + drop(1, mlp(LayerNorm(dtype=self.dtype, name="norm2")(x)))


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), x + attention to sounds(norm(x)), x + MLP(norm(x))."""

    heads: int
    deviation: float
    dtype: DTypeLike = jnp.float32
    width: int = 0

    def setup(self):
        sizes = self.heads, self.deviation, self.dtype, self.width
        self.attention, self.sounds = Attention(*sizes), Attention(*sizes)
        self.mlp = MLP(self.deviation, self.dtype)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(dtype=self.dtype) for _ in range(3))

    def __call__(
        self, x: Float[Array, "batch length width"], sounds: Sounds, drop: Drop | None = None
    ) -> Float[Array, "batch length width"]:
        drop = drop or _nothing
        x = x + drop(0, self.attention(self.norm1(x), causal=True))
        x = x + drop(1, self.sounds.to_sounds(self.norm2(x), sounds))
        return x + drop(2, self.mlp(self.norm3(x)))

    def cached(
        self,
        x: Float[Array, "rows new width"],
        sounds: Sounds,
        cache: AnyCache,
        start: Int[Array, " rows"],
    ) -> tuple[Float[Array, "rows new width"], AnyCache]:
        """Passes new places; the cache has those before."""
        y, cache = self.attention.cached(self.norm1(x), cache, start)
        x = x + y
        x = x + self.sounds.to_sounds(self.norm2(x), sounds)
        return x + self.mlp(self.norm3(x)), cache

    def read(self, states: Float[Array, "batch places width"]) -> Sounds:
        """Computes the keys and values of sounds."""
        return self.sounds.read(states)


class Attention(nn.Module):
    """Multi-head attention: of a text or a sound to itself, or of a text to sounds."""

    heads: int
    deviation: float
    dtype: DTypeLike = jnp.float32
    width: int = 0

    def setup(self):
        init = nn.initializers.normal(self.deviation)
        options = {"kernel_init": init, "dot_general": one_row_dot_general}

        def projection(bias):
            return Dense(self.width, bias, self.dtype, **options)

        self.query, self.key, self.value = projection(True), projection(False), projection(True)
        self.out = projection(True)

    def __call__(
        self, x: Float[Array, "batch length width"], *, causal: bool
    ) -> Float[Array, "batch length width"]:
        query, key, value = self._heads(x, self.query, self.key, self.value)
        return self._joined(attention(query, key, value, causal=causal))

    def cached(
        self, x: Float[Array, "rows new width"], cache: AnyCache, start: Int[Array, " rows"]
    ) -> tuple[Float[Array, "rows new width"], AnyCache]:
        """Attends to the places before and up to each new one."""
        query, key, value = self._heads(x, self.query, self.key, self.value)
        y, cache = cached_attention(query, key, value, cache, start)
        return self._joined(y), cache

    def read(self, states: Float[Array, "batch places width"]) -> Sounds:
        """Computes keys and values of sounds."""
        return Sounds(*self._heads(states, self.key, self.value))

    def to_sounds(
        self, x: Float[Array, "rows new width"], sounds: Sounds
    ) -> Float[Array, "rows new width"]:
        """Attends to sounds. Several rows in a row may read one of them."""
        (query,) = self._heads(x, self.query)
        # The rows of one sound are as many more queries of it, so that it is not repeated.
        grouped = query.reshape(sounds.key.shape[0], -1, *query.shape[2:])
        y = attention(grouped, sounds.key, sounds.value, causal=False)
        return self._joined(y.reshape(query.shape))

    def _heads(self, x, *layers):
        return [layer(x).reshape(*x.shape[:2], self.heads, -1) for layer in layers]

    def _joined(self, y):
        return materialize_on_cpu(self.out(y.reshape(*y.shape[:2], -1)))


class MLP(nn.Module):
    """Two layers with the exact GELU between them."""

    deviation: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        width, init = x.shape[-1], nn.initializers.normal(self.deviation)
        options = {"kernel_init": init, "dot_general": one_row_dot_general, "dtype": self.dtype}
        y = materialize_on_cpu(Dense(4 * width, name="linear1", **options)(x))
        y = materialize_on_cpu(nn.gelu(y, approximate=False))
        return materialize_on_cpu(Dense(width, name="linear2", **options)(y))
