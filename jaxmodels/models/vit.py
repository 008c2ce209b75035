"""Vision transformers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.layers import Dense, Dropout, Rate
from jaxmodels.models.layers.attention import by_heads
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least
from jaxmodels.protocol import MODEL_AXIS, Sharding, ShardingRule

POOLS = ("mean", "token")
POSITIONS = ("sincos", "learned")
VARIANTS = {
    # For 28 to 32 pixels: 2.7 million parameters.
    "tiny": {"patch": 4, "width": 192, "depth": 6, "heads": 3},
    # As Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k".
    "s16": {"patch": 16, "width": 384, "depth": 12, "heads": 6},
    # As Dosovitskiy et al. 2021, and torchvision's vit_b_16.
    "b16": {
        "patch": 16,
        "width": 768,
        "depth": 12,
        "heads": 12,
        "pool": "token",
        "positions": "learned",
    },
}

# As Shoeybi et al. 2019, Megatron-LM, section 3: the first kernels of attention and MLP are divided
# by outputs, the second ones by inputs, so that a block adds over devices twice.
SHARDING = Sharding(
    (
        ShardingRule(r"(^|/)(query|key|value|linear1)/kernel$", (None, MODEL_AXIS)),
        ShardingRule(r"(^|/)(query|key|value|linear1)/bias$", (MODEL_AXIS,)),
        ShardingRule(r"(^|/)(out|linear2)/kernel$", (MODEL_AXIS, None)),
    ),
)

kernel_init = nn.initializers.xavier_uniform()
_EPSILON = 1e-6  # of LayerNorm, as in the original's code, torchvision's and timm's


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Options of the vision transformer."""

    variant: str = "tiny"
    """Network: tiny, for small images, s16 (Beyer et al. 2022) or b16 (torchvision's)."""
    patch: int = 0
    """Side of the squares that an image is cut into; 0: the variant's own."""
    pool: str = ""
    """Input of the head: mean, over all positions, or token, of an added class token; empty: the
    variant's own."""
    positions: str = ""
    """Vectors added to patches: sincos or learned; empty: the variant's own."""
    width: int = 0
    """Width of the residual stream; 0: the variant's own."""
    depth: int = 0
    """Blocks; 0: the variant's own."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""
    mlp_ratio: int = 4
    """Width of the MLP over that of the residual stream."""
    norm_epsilon: float = _EPSILON
    """Added to the variance by layer norms; transformers publishes 1e-12."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant, pool or positions, or a negative size."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, "patch", "width", "depth", "heads", "norm_epsilon")
        require_at_least(1, self, "mlp_ratio")
        require_known("pool", self.pool, ("", *POOLS))
        require_known("positions", self.positions, ("", *POSITIONS))

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "ViT":
        """Creates the classifier."""
        self.validate()
        return ViT(classes=classes, dtype=dtype, **self.sizes())

    def sizes(self) -> dict[str, Any]:
        """Returns the fields of the module but classes and dtype."""
        named = ("patch", "pool", "positions", "width", "depth", "heads")
        own = {name: getattr(self, name) for name in named if getattr(self, name)}
        more = {"mlp_ratio": self.mlp_ratio, "epsilon": self.norm_epsilon}
        standard = {"pool": "mean", "positions": "sincos"}
        return {**standard, **VARIANTS[self.variant], **own, **more}


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021): normalisation first, exact GELU.

    With pool "token" and learned positions it is torchvision's VisionTransformer. With "mean" and
    "sincos" it is that of Beyer et al. 2022, except that their GELU is the tanh approximation. The
    head starts as zero. Attention weights are float32 under any dtype.

    patch: side of the squares that an image is cut into.
    pool: the input of the head: "mean", over all positions, or "token", an added class token.
    positions: the vectors added to patches: "learned", a table for the image size of `init`, with a
      row for the token; or "sincos", sines and cosines, for any size, with none for the token.
    epsilon: what layer norms add to the variance.
    dropout_rate: after positions, attention, and both linear layers of each block's MLP.

    Raises:
      InputError: an image that the patch does not divide, an unknown pool or positions, or a width
        that the heads (or, with sincos, 4) do not divide.
    """

    sharding: ClassVar[Sharding] = SHARDING

    classes: int
    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: int = 4
    pool: str = "mean"
    positions: str = "sincos"
    epsilon: float = _EPSILON
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        require_known("pool", self.pool, POOLS)
        require_known("positions", self.positions, POSITIONS)
        if self.width % self.heads:
            raise InputError(f"width = {self.width}; expected a multiple of heads = {self.heads}")
        x = Dropout()(self._embedded(x), rate=dropout_rate, train=train)
        for index in range(self.depth):
            options = {"epsilon": self.epsilon, "dtype": self.dtype}
            block = Block(self.heads, self.mlp_ratio, name=f"block_{index}", **options)
            x = again(block, x, train=train, dropout_rate=dropout_rate)
        x = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(x)
        x = x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1)
        if head:
            zeros = nn.initializers.zeros
            x = nn.Dense(self.classes, dtype=self.dtype, kernel_init=zeros, name="head")(x)
        return x.astype(jnp.float32)

    def features(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)

    def _embedded(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch positions embedding"]:
        """Embeds the patches, adds positions, and puts the token, if there is one, in front."""
        x = patches_of(images, self.patch)
        rows, columns = x.shape[1:3]
        x = Dense(self.width, dtype=self.dtype, name="embedding")(x)
        x = x.reshape(x.shape[0], rows * columns, self.width)
        if self.positions == "sincos":
            x = (x + sincos_positions(rows, columns, self.width)).astype(self.dtype)
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (self.width,)).astype(self.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        if self.positions == "learned":
            x = LearnedPositions(dtype=self.dtype, name="positions")(x)
        return x


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    heads: int
    mlp_ratio: int = 4
    epsilon: float = _EPSILON
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch positions width"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch positions width"]:
        def drop(y):
            return Dropout()(y, rate=dropout_rate, train=train)

        def dense(features, name):
            return Dense(features, dtype=self.dtype, kernel_init=kernel_init, name=name)

        width = x.shape[-1]
        y = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="norm1")(x)
        x = x + drop(Attention(self.heads, self.dtype, name="attention")(y))
        y = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="norm2")(x)
        y = dense(self.mlp_ratio * width, "linear1")(y)
        y = across.constrain(y, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        y = drop(nn.gelu(y, approximate=False))
        return x + drop(dense(width, "linear2")(y))


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself (Vaswani et al. 2017, section 3.2.2)."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch positions width"]
    ) -> Float[Array, "batch positions width"]:
        def dense(name):
            return Dense(x.shape[-1], dtype=self.dtype, kernel_init=kernel_init, name=name)

        # Query, key and value have a kernel each, because initialisation and Muon scale by matrix.
        query, key, value = (
            by_heads(dense(name)(x).reshape(*x.shape[:2], self.heads, -1))
            for name in ("query", "key", "value")
        )
        y = jax.nn.dot_product_attention(query, key, value)
        return dense("out")(y.reshape(x.shape))


class LearnedPositions(nn.Module):
    """Adds a vector to each position."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch positions width"]
    ) -> Float[Array, "batch positions width"]:
        # Weight decay and Muon, which are for kernels, leave a table named bias alone.
        table = self.param("bias", nn.initializers.normal(0.02), x.shape[1:])
        return x + table.astype(self.dtype)


def patches_of(
    images: Float[Array, "batch height width channels"], patch: int
) -> Float[Array, "batch rows columns numbers"]:
    """Cuts images into squares and flattens each in the order of a convolution's kernel.

    Raises:
      InputError: a side that the patch does not divide.
    """
    batch, height, width, channels = images.shape
    if patch < 1 or height % patch or width % patch:
        fitting = [n for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
        raise InputError(
            f"image size {height}x{width}; expected a multiple of the patch size {patch} (--patch"
            f" {' or '.join(map(str, fitting))} divides it)"
        )
    rows, columns = height // patch, width // patch
    x = images.reshape(batch, rows, patch, columns, patch, channels).swapaxes(2, 3)
    return x.reshape(batch, rows, columns, -1)


def sincos_positions(
    rows: int, columns: int, width: int, temperature: float = 10_000.0
) -> Float[Array, "positions width"]:
    """Gives sines and cosines of column and row at width / 4 wavelengths: sin x, cos x, sin y and
    cos y (Chen et al. 2021, MoCo v3, as in big_vision's `posemb_sincos_2d`).

    Raises:
      InputError: a width below 8, or one that 4 does not divide.
    """
    if width % 4 or width < 8:
        raise InputError(f"width = {width}; sincos positions need a multiple of 4, at least 8")
    frequencies = temperature ** -jnp.linspace(0.0, 1.0, width // 4)
    y, x = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
    angles = [jnp.outer(axis.ravel(), frequencies) for axis in (x, y)]
    return jnp.concatenate([f(a) for a in angles for f in (jnp.sin, jnp.cos)], axis=1)
