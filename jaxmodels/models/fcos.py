"""A dense detector without anchors: at each place of a small pyramid a box and a score per class.

It is FCOS (Tian et al. 2019) without its centre-ness, whose part the scores take over: they are
trained to be the overlap of the box (see `objectives.dense_detection`).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.efficientnet import EfficientNetBackbone
from jaxmodels.models.efficientnet import stages_of as efficientnet_stages
from jaxmodels.models.layers import BatchNorm, Conv, GroupNorm
from jaxmodels.models.options import require_at_least
from jaxmodels.models.resnet import BasicBlock, ResNetBackbone, ResNetConfig
from jaxmodels.ops import upsample

TINY = "tiny"
RESNETS = {f"resnet{depth}": depth for depth in ("18", "34", "50", "101", "152")}
LITES = {f"lite{number}": f"lite{number}" for number in range(5)}
BACKBONES = (TINY, *RESNETS, *LITES)
NORMS = ("group", "batch")
ASSIGNMENTS = ("aligned", "centre")
CLASS_LOSSES = ("cross_entropy", "varifocal", "focal")
BOX_LOSSES = ("giou", "diou")
STRIDES = (2, 4, 8, 16, 32, 64)
_WIDTHS = {2: 24, 4: 32, 8: 64, 16: 96, 32: 128, 64: 128}  # of the tiny backbone
PRIOR = 0.01  # probability of every class at the start (Lin et al. 2017, section 3.3)
_LARGEST = 8.0  # log of the largest distance in strides


class DenseOutputs(NamedTuple):
    """What a dense detector gives for each place, all levels one after another.

    boxes: in pixels of the input. points: the places (x, y) in pixels. strides: of their levels.
    """

    logits: Float[Array, "batch places classes"]
    boxes: Float[Array, "batch places 4"]
    points: Float[Array, "places 2"]
    strides: Float[Array, " places"]


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """Options of backbone, pyramid and dense head."""

    backbone: str = TINY
    """Network below: tiny (0.6 million parameters), resnet18 to resnet152, or lite0 to lite4,
    EfficientNet-Lite."""
    strides: tuple[int, ...] = (8, 16, 32)
    """Pixels from place to place on each level of the pyramid, each twice the one before."""
    width: int = 64
    """Channels of pyramid and head."""
    depth: int = 2
    """Convolutions of the head before its last, for classes and boxes each."""
    norm: str = "group"
    """Normalisation in the head: group, or batch, with statistics for each level."""

    def validate(self) -> None:
        """Raises InputError for options that do not go together."""
        require_known("backbone", self.backbone, BACKBONES)
        require_known("norm", self.norm, NORMS)
        require_at_least(1, self, "width")
        require_at_least(0, self, "depth")
        strides = self.strides
        follow = all(b == 2 * a for a, b in pairwise(strides))
        least = 2 if self.backbone in (TINY, *LITES) else 4
        most = 64 if self.backbone == TINY else 32
        fits = bool(strides) and follow and set(strides) <= set(STRIDES)
        if not fits or strides[0] < least or strides[-1] > most:
            shown = " ".join(map(str, strides))
            raise InputError(
                f"strides = {shown}; expected powers of 2, each twice the one before, from {least}"
                f" to {most} with --backbone {self.backbone}, as 8 16 32"
            )
        if self.norm == "group" and self.width % 8:
            raise InputError(f"width = {self.width}; expected a multiple of 8 with --norm group")


@dataclass(frozen=True, kw_only=True)
class FCOSConfig(PyramidConfig):
    """Options of the dense detector."""

    assignment: str = "aligned"
    """Which places learn an object: aligned, those that find it best already, or centre, those near
    its centre on the level of its size."""
    class_loss: str = "cross_entropy"
    """Loss of the scores: cross_entropy or varifocal, with the overlap as target, or focal, with 1.
    The last two count what is easy less."""
    box_loss: str = "giou"
    """Loss of the boxes: giou or diou."""
    box_weight: float = 2.0
    """Weight of the loss of the boxes."""
    candidates: int = 500
    """Pairs of place and class that compete to be a detection of a picture."""
    nms: float = 0.6
    """Overlap (IoU) from which a detection suppresses others of its class."""
    soft_nms: float = 0.0
    """In place of --nms, an overlap multiplies scores by exp(-overlap² / this); 0: it does not."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, or a number out of range."""
        super().validate()
        require_known("assignment", self.assignment, ASSIGNMENTS)
        require_known("class_loss", self.class_loss, CLASS_LOSSES)
        require_known("box_loss", self.box_loss, BOX_LOSSES)
        require_at_least(1, self, "candidates")
        for name, most in (("nms", 1.0), ("soft_nms", 100.0), ("box_weight", 1e6)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 to {most:g}")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "FCOS":
        """Creates the detector."""
        self.validate()
        backbone = make_backbone(self.backbone, self.strides[-1], dtype)
        return FCOS(classes, backbone, self.strides, self.width, self.depth, self.norm, dtype)


def make_backbone(name: str, most: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """Creates the backbone of a name, to the reduction `most`."""
    if name == TINY:
        return TinyBackbone(most, dtype)
    if name in LITES:
        return EfficientNetBackbone(stages=efficientnet_stages(LITES[name]), most=most, dtype=dtype)
    sizes: dict[str, Any] = ResNetConfig(variant=RESNETS[name]).sizes()
    return ResNetBackbone(most=most, dtype=dtype, **sizes)


class TinyBackbone(nn.Module):
    """A strided convolution, and a residual block at each further reduction.

    most: the largest reduction.
    """

    most: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> dict[int, Array]:
        """Gives the output at each reduction: 2, 4, 8, ..."""
        x = Conv(_WIDTHS[2], (3, 3), 2, padding=1, use_bias=False, dtype=self.dtype, name="stem")(x)
        x = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train=train))
        found = {2: x}
        for reduction, width in _WIDTHS.items():
            if 2 < reduction <= self.most:
                block = BasicBlock(width, 2, dtype=self.dtype, name=f"block_{reduction}")
                found[reduction] = x = block(x, train=train)
        return found


class FCOS(nn.Module):
    """Backbone, pyramid and a head that all levels share.

    backbone: gives a dict of features by their reduction.
    """

    classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (8, 16, 32)
    width: int = 64
    depth: int = 2
    norm: str = "group"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> DenseOutputs:
        """Gives logits and boxes of all places."""
        scales = self.backbone(x, train=train)
        levels = Pyramid(self.strides, self.width, self.norm, self.dtype, name="pyramid")(
            scales, train=train
        )
        head = Head(self.classes, self.width, self.depth, self.norm, self.dtype, name="head")
        return dense_outputs(head, levels, train=train)


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017): each level has the features of its reduction and, from
    above, those of the levels that see more."""

    strides: tuple[int, ...]
    width: int
    norm: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, scales: dict[int, Array], *, train: bool) -> dict[int, Array]:
        levels: dict[int, Array] = {}
        above = None
        for stride in reversed(self.strides):
            lateral = Conv(self.width, (1, 1), dtype=self.dtype, name=f"lateral_{stride}")
            x = lateral(scales[stride])
            if above is not None:
                x += upsample(above)[:, : x.shape[1], : x.shape[2]]
            above = x
            smooth = Conv(
                self.width, (3, 3), use_bias=False, dtype=self.dtype, name=f"smooth_{stride}"
            )
            norm = Norm(self.norm, self.dtype, name=f"norm_{stride}")
            levels[stride] = nn.relu(norm(smooth(x), train=train))
        return dict(sorted(levels.items()))


class Head(nn.Module):
    """Convolutions that all levels share, for classes and for boxes."""

    classes: int
    width: int
    depth: int
    norm: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], stride: int, *, train: bool
    ) -> tuple[Float[Array, "batch places classes"], Float[Array, "batch places 4"]]:
        """Gives logits, and distances in strides to the edges of a box."""
        batch = x.shape[0]
        prior = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        logits = self.last("logits", self.classes, prior)(self.tower("class", x, stride, train))
        edges = self.last("edges", 4, nn.initializers.zeros)(self.tower("box", x, stride, train))
        # Each level learns the size of its boxes (FCOS, section 3.2).
        scale = self.param(f"scale_{stride}", nn.initializers.ones, ())
        log_size = self.param(f"log_size_{stride}", nn.initializers.ones, ())
        edges = edges.reshape(batch, -1, 4).astype(jnp.float32) * scale + log_size
        logits = logits.reshape(batch, -1, self.classes).astype(jnp.float32)
        return logits, jnp.exp(jnp.minimum(edges, _LARGEST))

    def tower(self, name: str, x: Array, stride: int, train: bool) -> Array:
        """Gives x after the convolutions before the last."""
        for number in range(self.depth):
            layer = f"{name}_{number}"
            conv = Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype, name=layer)
            # Levels have statistics of their own, as in EfficientDet.
            own = f"_{stride}" if self.norm == "batch" else ""
            norm = Norm(self.norm, self.dtype, name=f"{layer}_norm{own}")
            x = nn.relu(norm(conv(x), train=train))
        return x

    def last(self, name: str, outputs: int, bias_init: nn.initializers.Initializer) -> Conv:
        """Creates a last convolution, which starts near its bias."""
        init = nn.initializers.normal(0.01)
        options: dict[str, Any] = {"kernel_init": init, "bias_init": bias_init}
        return Conv(outputs, (3, 3), dtype=self.dtype, name=name, **options)


class Norm(nn.Module):
    """Normalisation by groups of 8 channels, or by batch."""

    kind: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], *, train: bool) -> Array:
        if self.kind == "batch":
            return BatchNorm(dtype=self.dtype, name="batch")(x, train=train)
        return GroupNorm(x.shape[-1] // 8, dtype=self.dtype, name="group")(x)


def dense_outputs(head: Head, levels: dict[int, Array], *, train: bool) -> DenseOutputs:
    """Gives what a head finds on all levels of a pyramid."""
    logits, distances = zip(*(head(level, at, train=train) for at, level in levels.items()))
    points, strides = map(jnp.asarray, places_of(sizes_of(levels)))
    # Distances to the left, upper, right and lower edge, in strides.
    edges = jnp.concatenate(distances, 1) * strides[:, None]
    boxes = jnp.concatenate([points - edges[..., :2], points + edges[..., 2:]], axis=-1)
    return DenseOutputs(jnp.concatenate(logits, 1), boxes, points, strides)


def sizes_of(levels: dict[int, Array]) -> dict[int, tuple[int, int]]:
    """Returns height and width of each level, by its stride."""
    return {at: (level.shape[1], level.shape[2]) for at, level in levels.items()}


def places_of(
    sizes: dict[int, tuple[int, int]],
) -> tuple[Float[np.ndarray, "places 2"], Float[np.ndarray, " places"]]:
    """Returns the centres (x, y) of all places in pixels of the input, and their strides.

    sizes: height and width of each level, by its stride.
    """
    points, strides = [], []
    for stride, (height, width) in sizes.items():
        y, x = np.mgrid[:height, :width].astype(np.float32)
        points.append(stride * (np.stack([x, y], -1).reshape(-1, 2) + 0.5))
        strides.append(np.full(height * width, stride, np.float32))
    return np.concatenate(points), np.concatenate(strides)
