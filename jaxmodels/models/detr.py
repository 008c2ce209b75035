"""DETR (Carion et al. 2020): a transformer from the features of a picture to a set of objects."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.fcos import BACKBONES, make_backbone
from jaxmodels.models.layers import Conv, Dense, Dropout, LayerNorm
from jaxmodels.models.layers.attention import attention
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least

STRIDES = (8, 16, 32)
_TEMPERATURE = 10_000.0
_xavier = nn.initializers.xavier_uniform()


class SetOutputs(NamedTuple):
    """What each decoder layer gives for each query, the last layer last.

    logits: of the classes, and last of no object. boxes: centre, width and height as shares of the
    picture's sides. sides: of the picture, (width, height).
    """

    logits: Float[Array, "layers batch queries outcomes"]
    boxes: Float[Array, "layers batch queries 4"]
    sides: Float[Array, " 2"]


@dataclass(frozen=True, kw_only=True)
class DETRConfig:
    """Options of DETR."""

    backbone: str = "resnet50"
    """Network below: tiny, resnet18 to resnet152, or lite0 to lite4."""
    stride: int = 32
    """Pixels from place to place of the features that the encoder sees: 8, 16 or 32."""
    width: int = 256
    """Channels of the transformer."""
    heads: int = 8
    """Heads of attention."""
    hidden: int = 2048
    """Width of the hidden linear layers."""
    encoder_layers: int = 6
    """Layers of the encoder."""
    decoder_layers: int = 6
    """Layers of the decoder; each has a loss of its own."""
    queries: int = 100
    """Most objects that are found in a picture."""
    dropout: float = 0.1
    """Share of numbers left out in training."""
    no_object: float = 0.1
    """Weight of queries without an object in the loss of classes."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, or a number out of range."""
        require_known("backbone", self.backbone, BACKBONES)
        names = ("width", "heads", "hidden", "encoder_layers", "decoder_layers", "queries")
        require_at_least(1, self, *names)
        if self.stride not in STRIDES:
            raise InputError(
                f"stride = {self.stride}; expected one of {', '.join(map(str, STRIDES))}"
            )
        if self.width % self.heads or self.width % 4:
            raise InputError(
                f"width = {self.width}, heads = {self.heads}; expected a width that 4 and the heads"
                " divide"
            )
        for name in ("dropout", "no_object"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 <= {name} < 1")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "DETR":
        """Creates the detector."""
        self.validate()
        return DETR(
            classes=classes,
            backbone=make_backbone(self.backbone, self.stride, dtype),
            stride=self.stride,
            width=self.width,
            heads=self.heads,
            hidden=self.hidden,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            queries=self.queries,
            dropout=self.dropout,
            dtype=dtype,
        )


class DETR(nn.Module):
    """Backbone, encoder of its features, and decoder of learned queries, layer for layer as
    published; layers normalise after their residual sums.

    backbone: gives a dict of features by their reduction, of which `stride` is taken.
    """

    classes: int
    backbone: nn.Module
    stride: int = 32
    width: int = 256
    heads: int = 8
    hidden: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    queries: int = 100
    dropout: float = 0.1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> SetOutputs:
        """Gives logits and boxes of all queries, after each decoder layer."""
        height, width = x.shape[1:3]
        features = self.backbone(x, train=train)[self.stride]
        project = Conv(self.width, (1, 1), dtype=self.dtype, name="input_projection")
        memory = project(features).reshape(x.shape[0], -1, self.width)
        places = jnp.asarray(sine_positions(features.shape[1:3], self.width), self.dtype)
        places = jnp.broadcast_to(places, memory.shape)
        layer = partial(
            Layer,
            self.width,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        memory = Dropout()(memory, rate=self.dropout or None, train=train)
        for number in range(self.encoder_layers):
            memory = again(layer(name=f"encoder_{number}"), memory, places, train=train)
        queries = self.param(
            "queries", nn.initializers.normal(1.0), (self.queries, self.width), jnp.float32
        )
        queries = jnp.broadcast_to(
            queries.astype(self.dtype), (x.shape[0], self.queries, self.width)
        )
        found = jnp.zeros_like(queries)
        norm = LayerNorm(dtype=self.dtype, name="decoder_norm")
        layers = []
        for number in range(self.decoder_layers):
            decode = layer(name=f"decoder_{number}")
            found = again(decode, found, queries, memory, places, train=train)
            layers.append(norm(found))
        logits, boxes = self.heads_of(jnp.stack(layers))
        return SetOutputs(logits, boxes, jnp.array([width, height], jnp.float32))

    def heads_of(self, found: Float[Array, "layers batch queries width"]) -> tuple[Array, Array]:
        """Gives logits and boxes."""
        dense = partial(Dense, dtype=self.dtype, kernel_init=_xavier)
        logits = dense(self.classes + 1, name="class")(found).astype(jnp.float32)
        for number in range(2):
            found = nn.relu(dense(self.width, name=f"box_{number}")(found))
        boxes = dense(4, name="box_2")(found).astype(jnp.float32)
        return logits, jax.nn.sigmoid(boxes)


class Layer(nn.Module):
    """Self-attention, attention to a memory if there is one, and two linear layers.

    Positions are added to queries and keys, not to values. What is of several documents sees its
    own alone; the bias is of the scores of attention to the memory (see `layers.attention`).
    """

    width: int
    heads: int
    hidden: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length width"],
        positions: Float[Array, "batch length width"],
        memory: Float[Array, "batch places width"] | None = None,
        places: Float[Array, "batch places width"] | None = None,
        *,
        documents: Int[Array, "batch length"] | None = None,
        bias: Float[Array, "batch heads length places"] | None = None,
        train: bool,
    ) -> Float[Array, "batch length width"]:
        y = self.attend("self", x + positions, x + positions, x, documents=documents)
        x = self.added("self_norm", x, y, train)
        if memory is not None:
            key = memory if places is None else memory + places
            y = self.attend("cross", x + positions, key, memory, bias=bias)
            x = self.added("cross_norm", x, y, train)
        dense = partial(Dense, dtype=self.dtype, kernel_init=_xavier)
        y = nn.relu(dense(self.hidden, name="linear_0")(x))
        return self.added("norm", x, dense(self.width, name="linear_1")(y), train)

    def attend(self, name: str, query: Array, key: Array, value: Array, **options: Any) -> Array:
        """Attends from queries to values by their keys."""
        dense = partial(Dense, self.width, dtype=self.dtype, kernel_init=_xavier)
        query, key, value = (
            dense(name=f"{name}_{part}")(x).reshape(*x.shape[:2], self.heads, -1)
            for part, x in (("query", query), ("key", key), ("value", value))
        )
        out = attention(query, key, value, causal=False, **options)
        return dense(name=f"{name}_out")(out.reshape(*out.shape[:2], -1))

    def added(self, name: str, x: Array, y: Array, train: bool) -> Array:
        """Normalises x + y, some of which is left out in training."""
        y = Dropout()(y, rate=self.dropout or None, train=train)
        return LayerNorm(dtype=self.dtype, name=name)(x + y)


def sine_positions(size: tuple[int, int], width: int) -> Float[np.ndarray, "places width"]:
    """Computes the positions of a grid: sines and cosines of y in the first half of the channels,
    of x in the other, both as shares of a circle (Carion et al. 2020, appendix A.4)."""
    rows, columns = size
    half = width // 2
    frequencies = _TEMPERATURE ** (2 * (np.arange(half) // 2) / half)

    def along(count: int) -> np.ndarray:
        angles = (np.arange(count) + 1) / (count + 1e-6) * 2 * math.pi
        angles = angles[:, None] / frequencies
        return np.stack([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], -1).reshape(count, half)

    y = np.repeat(along(rows)[:, None], columns, axis=1)
    x = np.repeat(along(columns)[None], rows, axis=0)
    return np.concatenate([y, x], axis=-1).reshape(-1, width).astype(np.float32)
