"""The Conformer (Gulati et al. 2020), which without its convolutions is a transformer, as an
encoder of spectrograms with a label at each place."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.models.layers import Conv, Dense, LayerNorm, Rate
from jaxmodels.models.layers.attention import attention
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.layers.rotary import rotary_angles, rotate
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.models.spectrogram_stem import Stem, there
from jaxmodels.ops import example_seeds
from jaxmodels.ops.materialize import materialize_on_cpu


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """Options of the Conformer."""

    layers: int = 2
    """Blocks."""
    width: int = 96
    """Width of the stream."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 2
    """Width inside the MLPs, in widths of the stream; 4 as published."""
    kernel: int = 15
    """Places that a convolution sees, an odd number; 31 or 32 as published. 0: there are no
    convolutions and one MLP in place of two halves, which is a transformer."""
    halvings: int = 2
    """Convolutions at the start that halve the number of frames each."""

    def validate(self) -> None:
        """Raises InputError for a size out of range, or heads that do not divide the width."""
        require_at_least(1, self, "layers", "width", "heads", "hidden")
        require_at_least(0, self, "kernel", "halvings")
        if self.width % (2 * self.heads):
            raise InputError(
                f"width = {self.width}; expected a multiple of twice heads = {self.heads}"
            )
        if self.kernel and self.kernel % 2 == 0:
            raise InputError(f"kernel = {self.kernel}; expected an odd number, or 0")

    def create(self, labels: int, dtype: DTypeLike = jnp.float32) -> "Conformer":
        """Creates the encoder, with a head of so many labels."""
        self.validate()
        sizes = self.layers, self.width, self.heads, self.hidden, self.kernel, self.halvings
        return Conformer(labels, *sizes, dtype)


class Conformer(nn.Module):
    """Convolutions that halve the frames, blocks with rotary positions, and a head.

    Parameters are float32, activations are `dtype`, logits are float32. Norms are layer norms in
    the convolutions too, so that an example does not depend on the others of its batch.
    """

    labels: int
    layers: int
    width: int
    heads: int
    hidden: int
    kernel: int
    halvings: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "batch frames bands"],
        frames: Int[Array, " batch"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> tuple[Float[Array, "batch places labels"], Int[Array, " batch"]]:
        """Gives the logits of the labels at each place, and how many places of each row count.

        frames: how many frames of each row count; the others change nothing.
        """
        stem = Stem(self.width, self.halvings, self.dtype, name="stem")
        x, places = stem(features, frames)
        valid = there(places, x.shape[1])
        inputs = BlockInputs(valid=valid)
        if train and dropout_rate is not None:
            seeds = example_seeds(self.make_rng("dropout"), across.positions(len(x)))
            inputs = inputs._replace(seeds=seeds, rate=dropout_rate)
        size = self.width // self.heads
        angles = rotary_angles(jnp.arange(x.shape[1]), size // 2 * 2)
        inputs = inputs._replace(angles=angles)
        for layer in range(self.layers):
            sizes = self.heads, self.hidden, self.kernel, self.dtype
            block = Block(*sizes, name=f"block_{layer}")
            x = again(block, x, inputs=inputs._replace(layer=layer))
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        logits = Dense(self.labels, dtype=self.dtype, name="head")(x)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), places


class Block(nn.Module):
    """Half an MLP, attention, a convolution, half an MLP, and a norm (Gulati et al. 2020, section
    2.4); without a kernel, attention and one MLP."""

    heads: int
    hidden: int
    kernel: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], inputs: BlockInputs
    ) -> Float[Array, "batch length width"]:
        share = 0.5 if self.kernel else 1.0
        if self.kernel:
            x = x + share * inputs.dropped(self._mlp(x, "mlp1"), 0)
        x = x + inputs.dropped(self._attend(x, inputs), 1)
        if self.kernel:
            x = x + inputs.dropped(self._convolve(x, inputs.valid), 2)
        x = x + share * inputs.dropped(self._mlp(x, "mlp2"), 3)
        return LayerNorm(dtype=self.dtype, name="norm")(x) if self.kernel else x

    def _dense(self, features: int, name: str, **options: Any) -> Dense:
        return Dense(features, dtype=self.dtype, name=name, **options)

    def _normed(self, x, name: str):
        return LayerNorm(dtype=self.dtype, name=f"{name}_norm")(x)

    def _mlp(self, x, name: str):
        width = x.shape[-1]
        y = self._dense(self.hidden * width, f"{name}_in")(self._normed(x, name))
        y = materialize_on_cpu(nn.swish(materialize_on_cpu(y)))
        return materialize_on_cpu(self._dense(width, f"{name}_out")(y))

    def _attend(self, x, inputs: BlockInputs):
        y = self._normed(x, "attention")
        query, key, value = (
            self._dense(x.shape[-1], name)(y).reshape(*x.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        if inputs.angles is not None:
            query, key = rotate(query, inputs.angles), rotate(key, inputs.angles)
        y = attention(query, key, value, causal=False, valid=inputs.valid)
        return materialize_on_cpu(self._dense(x.shape[-1], "out")(y.reshape(x.shape)))

    def _convolve(self, x, valid: Bool[Array, "batch length"] | None):
        width = x.shape[-1]
        y = self._dense(2 * width, "gate")(self._normed(x, "convolution"))
        y = nn.glu(y)
        if valid is not None:
            y = jnp.where(valid[..., None], y, 0)
        deep = Conv(width, (self.kernel,), feature_group_count=width, dtype=self.dtype, name="deep")
        y = nn.swish(LayerNorm(dtype=self.dtype, name="deep_norm")(deep(materialize_on_cpu(y))))
        return materialize_on_cpu(self._dense(width, "mix")(materialize_on_cpu(y)))
