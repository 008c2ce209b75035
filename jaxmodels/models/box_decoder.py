"""A decoder whose queries are boxes, which each of its layers refines, as DAB-DETR's are (Liu et
al. 2022)."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.detr import Layer
from jaxmodels.models.fcos import PRIOR
from jaxmodels.models.flow_speech import waves
from jaxmodels.models.layers import Dense, LayerNorm

_LEAST = 0.01  # share of the picture; a box that is smaller changes as one of this size
_LARGEST = 2.0  # log of the largest factor by which a layer changes a side


class BoxDecoder(nn.Module):
    """Attention among queries, attention to the places of a picture near each query's box, and a
    better box and scores, layer after layer."""

    classes: int
    width: int
    heads: int
    hidden: int
    layers: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch queries width"],
        boxes: Float[Array, "batch queries 4"],
        groups: Int[Array, "batch queries"],
        memory: Float[Array, "batch places width"],
        places: Float[Array, "places 2"],
        cell: Float[Array, " 2"],
        *,
        train: bool,
    ) -> tuple[
        Float[Array, "layers batch queries classes"], Float[Array, "layers batch queries 4"]
    ]:
        """Gives logits and boxes of all queries after each layer.

        Boxes are given by centre and size, as places and the extent of a place (cell) in shares of
        the picture.

        groups: of the queries; those of several groups do not see each other.
        """
        dense = partial(Dense, self.width, dtype=self.dtype)
        memory = LayerNorm(dtype=self.dtype, name="memory_norm")(dense(name="memory")(memory))
        # Values have positions too, from which a box learns where what it sees lies.
        memory += dense(name="place")(_embedded(places, self.dtype))
        first, second = dense(name="position_0"), dense(name="position_1")
        outputs = []
        for number in range(self.layers):
            positions = second(nn.relu(first(_embedded(boxes, self.dtype))))
            near = BoxPrior(self.heads, name=f"prior_{number}")(queries, boxes, places, cell)
            layer = Layer(
                self.width, self.heads, self.hidden, dtype=self.dtype, name=f"layer_{number}"
            )
            queries = layer(queries, positions, memory, documents=groups, bias=near, train=train)
            logits, change = self.found(queries, number)
            boxes = changed(boxes, change)
            outputs.append((logits, boxes))
            # A layer learns from its own loss alone where its boxes go.
            boxes = jax.lax.stop_gradient(boxes)
        logits, boxes = map(jnp.stack, zip(*outputs))
        return logits, boxes

    def found(
        self, queries: Float[Array, "batch queries width"], number: int
    ) -> tuple[Float[Array, "batch queries classes"], Float[Array, "batch queries 4"]]:
        """Gives logits, and changes of boxes that are none at first."""
        start: dict[str, Any] = {
            "kernel_init": nn.initializers.normal(0.01),
            "bias_init": nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR)),
        }
        logits = Dense(self.classes, dtype=self.dtype, name=f"class_{number}", **start)(queries)
        x = nn.relu(Dense(self.width, dtype=self.dtype, name=f"box_{number}")(queries))
        zeros = nn.initializers.zeros
        change = Dense(4, dtype=self.dtype, kernel_init=zeros, name=f"change_{number}")(x)
        return logits.astype(jnp.float32), change.astype(jnp.float32)


class BoxPrior(nn.Module):
    """The logarithm of a normal density of places around a point of each box, for each head: where
    attention looks before it has learnt anything (SMCA, Gao et al. 2021, section 3.2).

    The point and the deviations are the query's to choose, in halves of the box's sides. Heads
    begin at points all around the box.
    """

    heads: int

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch queries width"],
        boxes: Float[Array, "batch queries 4"],
        places: Float[Array, "places 2"],
        cell: Float[Array, " 2"],
    ) -> Float[Array, "batch heads queries places"]:
        """Gives the logarithm, but for what is equal for all places."""
        start: dict[str, Any] = {
            "kernel_init": nn.initializers.zeros,
            "bias_init": _all_around,
        }
        chosen = Dense(4 * self.heads, name="point", **start)(queries.astype(jnp.float32))
        point, spread = jnp.split(chosen.reshape(*boxes.shape[:2], self.heads, 4), 2, axis=-1)
        centre, half = boxes[:, :, None, :2], boxes[:, :, None, 2:] / 2
        deviation = half * jnp.exp(jnp.clip(spread, -_LARGEST, _LARGEST))
        # Nothing is narrower than a place, so that some place is always near.
        variance = jnp.square(deviation) + jnp.square(cell)
        # -(place - mean)² / 2 variance is a product of two vectors, and what a softmax ignores.
        factors = jnp.concatenate([(centre + half * point) / variance, -0.5 / variance], axis=-1)
        powers = jnp.concatenate([places, jnp.square(places)], axis=-1)
        return jnp.einsum("bqhf,pf->bhqp", factors, powers, precision=jax.lax.Precision.HIGHEST)


def changed(
    boxes: Float[Array, "*boxes 4"], change: Float[Array, "*boxes 4"]
) -> Float[Array, "*boxes 4"]:
    """Moves centres by multiples of the sides and scales the sides, as R-CNN changes boxes
    (Girshick et al. 2014, appendix C): the same for small and large ones."""
    centre, size = boxes[..., :2], jnp.maximum(boxes[..., 2:], _LEAST)
    scale = jnp.exp(jnp.clip(change[..., 2:], -_LARGEST, _LARGEST))
    return jnp.concatenate([centre + size * change[..., :2], size * scale], axis=-1)


def _all_around(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Makes points on a circle, one for each head, and no change of the deviations."""
    angles = 2 * math.pi * np.arange(shape[0] // 4) / (shape[0] // 4)
    points = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], axis=-1)
    return jnp.asarray(points.reshape(shape), dtype)


def _embedded(shares: Float[Array, "*rest numbers"], dtype: DTypeLike) -> Array:
    """Gives the waves of all numbers, one after another."""
    return waves(shares).reshape(*shares.shape[:-1], -1).astype(dtype)
