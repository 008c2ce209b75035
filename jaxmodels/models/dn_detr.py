"""A DETR that learns from few pictures: queries are boxes that a dense head proposes and decoder
layers refine, beside noised true boxes from which the layers learn what refining is.

Noised boxes are those of DN-DETR (Li et al. 2022) and DINO (Zhang et al. 2023), proposals those of
two-stage Deformable DETR (Zhu et al. 2021); attention among the places of the coarsest level alone
is RT-DETR's (Zhao et al. 2024).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.box_decoder import BoxDecoder
from jaxmodels.models.detr import Layer, sine_positions
from jaxmodels.models.fcos import (
    DenseOutputs,
    Head,
    Pyramid,
    PyramidConfig,
    dense_outputs,
    make_backbone,
    places_of,
    sizes_of,
)
from jaxmodels.models.layers import Conv, Dense, LayerNorm
from jaxmodels.models.options import require_at_least
from jaxmodels.ops.boxes import centred

CLASS_LOSSES = ("cross_entropy", "varifocal")


class RefinedOutputs(NamedTuple):
    """What each decoder layer gives for each query, the last layer last, and what the dense head
    gives for each place.

    logits: of the classes, each by itself. boxes: centre, width and height as shares of the
    picture's sides. sides: of the picture, (width, height). noised_logits, noised_boxes: those of
    the noised objects, group after group.
    """

    logits: Float[Array, "layers batch queries classes"]
    boxes: Float[Array, "layers batch queries 4"]
    sides: Float[Array, " 2"]
    dense: DenseOutputs
    noised_logits: Float[Array, "layers batch noised classes"]
    noised_boxes: Float[Array, "layers batch noised 4"]


@dataclass(frozen=True, kw_only=True)
class DNDETRConfig(PyramidConfig):
    """Options of the DETR with denoising queries."""

    heads: int = 4
    """Heads of attention; each looks at another side of a box at first."""
    hidden: int = 256
    """Width of the hidden linear layers."""
    encoder_layers: int = 1
    """Layers of attention among the places of the coarsest level; 0: none."""
    decoder_layers: int = 3
    """Layers that refine boxes; each has a loss of its own."""
    memory_levels: int = 2
    """Coarsest levels of the pyramid that the decoder looks at."""
    queries: int = 100
    """Boxes that are refined, those of the places that score best; most objects of a picture."""
    groups: int = 3
    """Groups of noised objects beside the queries in training, each with every object twice: near
    it, to be found, and farther off, to be rejected; 0: none."""
    label_noise: float = 0.2
    """Share of noised objects that are shown with a label drawn at random."""
    box_noise: float = 1.0
    """How far the corners of noised objects move at most, in halves of its sides; those to be
    rejected move as far at least."""
    positives: int = 5
    """Places of the dense head that learn an object, those that find it best already."""
    dense_weight: float = 1.0
    """Weight of the loss of the dense head."""
    class_loss: str = "cross_entropy"
    """Loss of the scores, with the overlap as target: cross_entropy, or varifocal, which counts
    what is easy less."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, or a number out of range."""
        super().validate()
        require_known("class_loss", self.class_loss, CLASS_LOSSES)
        names = ("heads", "hidden", "decoder_layers", "memory_levels", "queries", "positives")
        require_at_least(1, self, *names)
        require_at_least(0, self, "encoder_layers", "groups")
        if self.width % self.heads or self.width % 4:
            raise InputError(
                f"width = {self.width}, heads = {self.heads}; expected a width that 4 and the heads"
                " divide"
            )
        for name, most in (("label_noise", 1.0), ("box_noise", 4.0), ("dense_weight", 1e6)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 to {most:g}")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "DNDETR":
        """Creates the detector."""
        self.validate()
        return DNDETR(
            classes=classes,
            backbone=make_backbone(self.backbone, self.strides[-1], dtype),
            strides=self.strides,
            width=self.width,
            depth=self.depth,
            norm=self.norm,
            heads=self.heads,
            hidden=self.hidden,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            memory_levels=self.memory_levels,
            queries=self.queries,
            dtype=dtype,
        )


class DNDETR(nn.Module):
    """Backbone, pyramid and dense head as those of FCOS, and a decoder of the boxes that the head
    proposes.

    backbone: gives a dict of features by their reduction.
    """

    classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (8, 16, 32)
    width: int = 64
    depth: int = 2
    norm: str = "group"
    heads: int = 4
    hidden: int = 256
    encoder_layers: int = 1
    decoder_layers: int = 3
    memory_levels: int = 2
    queries: int = 100
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        noised_labels: Int[Array, "batch groups members"] | None = None,
        noised_boxes: Float[Array, "batch groups members 4"] | None = None,
        *,
        train: bool = False,
    ) -> RefinedOutputs:
        """Gives logits and boxes of all queries after each decoder layer, and of all places.

        noised_labels, noised_boxes: what the decoder learns to refine beside the proposals; label
          -1 is padding. Boxes are given by centre and size in shares of the picture.
        """
        sides = jnp.array([x.shape[2], x.shape[1]], jnp.float32)
        scales = dict(self.backbone(x, train=train))
        scales[self.strides[-1]] = self.encoded(scales[self.strides[-1]], train)
        options = self.norm, self.dtype
        levels = Pyramid(self.strides, self.width, *options, name="pyramid")(scales, train=train)
        head = Head(self.classes, self.width, self.depth, *options, name="head")
        dense = dense_outputs(head, levels, train=train)
        found, boxes = self.proposals(levels, dense, sides)
        groups = jnp.zeros(boxes.shape[:2], jnp.int32)
        table = self.param("labels", nn.initializers.normal(1.0), (self.classes, self.width))
        noised = 0
        if noised_labels is not None and noised_boxes is not None:
            noised = math.prod(noised_labels.shape[1:])
            own = table.astype(self.dtype)[jnp.maximum(noised_labels, 0)]
            number = 1 + jnp.arange(noised_labels.shape[1])[:, None]
            group = jnp.where(noised_labels >= 0, number, -1)
            found, boxes, groups = (
                jnp.concatenate([first.reshape(x.shape[0], noised, *first.shape[3:]), then], axis=1)
                for first, then in ((own, found), (noised_boxes, boxes), (group, groups))
            )
        logits, boxes = self.refined(found, boxes, groups, levels, sides, train)
        return RefinedOutputs(
            logits[:, :, noised:],
            boxes[:, :, noised:],
            sides,
            dense,
            logits[:, :, :noised],
            boxes[:, :, :noised],
        )

    def encoded(self, x: Float[Array, "batch rows columns channels"], train: bool) -> Array:
        """Gives each place of the coarsest features what all others have."""
        if not self.encoder_layers:
            return x
        size = x.shape[1], x.shape[2]
        x = Conv(self.width, (1, 1), dtype=self.dtype, name="input_projection")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        places = jnp.asarray(sine_positions(size, self.width), self.dtype)
        places = jnp.broadcast_to(places, x.shape)
        for number in range(self.encoder_layers):
            name = f"encoder_{number}"
            layer = Layer(self.width, self.heads, self.hidden, dtype=self.dtype, name=name)
            x = layer(x, places, train=train)
        return x.reshape(x.shape[0], *size, self.width)

    def proposals(
        self, levels: dict[int, Array], dense: DenseOutputs, sides: Float[Array, " 2"]
    ) -> tuple[Float[Array, "batch queries width"], Float[Array, "batch queries 4"]]:
        """Gives features and boxes of the places that score best.

        Raises:
          InputError: fewer places than queries.
        """
        scores = jnp.max(dense.logits, axis=-1)
        if scores.shape[1] < self.queries:
            raise InputError(
                f"queries = {self.queries}; the canvas has {scores.shape[1]} places: give --queries"
                f" {scores.shape[1]} or less, or finer --strides"
            )
        rows = jax.lax.top_k(scores, self.queries)[1][..., None]
        found = jnp.take_along_axis(_flat(levels), rows, axis=1)
        found = Dense(self.width, dtype=self.dtype, name="proposal")(found)
        corners = jnp.take_along_axis(dense.boxes, rows, axis=1) / jnp.concatenate([sides, sides])
        boxes = jax.lax.stop_gradient(centred(jnp.clip(corners, 0, 1)))
        return LayerNorm(dtype=self.dtype, name="proposal_norm")(found), boxes

    def refined(
        self,
        found: Float[Array, "batch all width"],
        boxes: Float[Array, "batch all 4"],
        groups: Int[Array, "batch all"],
        levels: dict[int, Array],
        sides: Float[Array, " 2"],
        train: bool,
    ) -> tuple[Float[Array, "layers batch all classes"], Float[Array, "layers batch all 4"]]:
        """Gives logits and boxes of all queries after each layer of the decoder."""
        levels = {stride: levels[stride] for stride in self.strides[-self.memory_levels :]}
        points, strides = map(jnp.asarray, places_of(sizes_of(levels)))
        decoder = BoxDecoder(
            self.classes,
            self.width,
            self.heads,
            self.hidden,
            self.decoder_layers,
            self.dtype,
            name="decoder",
        )
        cell = strides[0] / sides
        return decoder(found, boxes, groups, _flat(levels), points / sides, cell, train=train)


def _flat(levels: dict[int, Array]) -> Float[Array, "batch places width"]:
    """Joins the places of all levels."""
    each = (level.reshape(level.shape[0], -1, level.shape[-1]) for level in levels.values())
    return jnp.concatenate(list(each), axis=1)
