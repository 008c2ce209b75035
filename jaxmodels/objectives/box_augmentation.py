"""The flags of augmentation of pictures with boxes, and the function that augments a batch."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.augmentation import AugmentationConfig
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.ops import augmentation
from jaxmodels.protocol import Batch, example_keys


@dataclass(frozen=True, kw_only=True)
class BoxAugmentationConfig:
    """How training pictures and their boxes are changed at each step, in the order of these flags.

    Each number is a constant of the compiled step.
    """

    flip: bool = False
    """Mirror half of the pictures left to right."""
    vertical_flip: bool = False
    """Mirror half of the pictures top to bottom."""
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    """Least and greatest factor by which pictures are scaled at random; smaller ones lie anywhere
    on the canvas, and of larger ones any part is cut out. 1 1: pictures only lie anywhere on it."""
    aspect_jitter: float = 1.0
    """Pictures get up to this factor wider than tall, or taller than wide; 1: as they are."""
    mosaic: float = 0.0
    """Share of the canvases that four pictures of the batch fill, a quarter each."""
    picture_mixup: float = 0.0
    """Share of the pictures that are averaged with another one of the batch and have the boxes of
    both."""
    least_visible: float = 0.3
    """Share of its area that a box has to keep where a picture is cut or erased; others are left
    out."""
    color_jitter: tuple[float, ...] = ()
    """Change brightness, contrast and saturation by random factors of 1 +- this strength, in a
    random order; four strengths: of brightness, contrast, saturation and hue (at most 0.5, of the
    circle), as torchvision's ColorJitter."""
    erasing: float = 0.0
    """Share of the pictures that get a grey rectangle, of 2% to 20% of the area."""
    room: int = 0
    """Boxes of a canvas after mosaic and mixup, the largest; 0: those of the data, twice as many
    with mosaic or mixup."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        for name in ("mosaic", "picture_mixup", "least_visible", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 <= {name} <= 1")
        low, high = self.scale_jitter
        if not (0.05 <= low <= high <= 20):
            raise InputError(
                f"scale_jitter = {low:g} {high:g}; expected two factors, 0.05 <= LOW <= HIGH <= 20,"
                " as --scale-jitter 0.5 1.5"
            )
        if not (1 <= self.aspect_jitter <= 10 and math.isfinite(self.aspect_jitter)):
            raise InputError(f"aspect_jitter = {self.aspect_jitter}; expected 1 to 10, as 1.3")
        if self.room < 0:
            raise InputError(f"room = {self.room}; expected at least 0")
        self.jitter_strengths()

    def jitter_strengths(self) -> augmentation.Strengths:
        """Returns the strengths of the color jitter; all are 0 without one.

        Raises:
          InputError: other than one or four numbers, or one out of range.
        """
        return AugmentationConfig(color_jitter=self.color_jitter).jitter_strengths()

    @property
    def places(self) -> augmentation.Jitter | None:
        """How far places may change; None: not at all."""
        jitter = augmentation.Jitter(
            self.scale_jitter,
            self.aspect_jitter,
            0.5 if self.flip else 0.0,
            0.5 if self.vertical_flip else 0.0,
            self.mosaic,
        )
        return None if jitter == augmentation.Jitter() else jitter


def make_box_augmentation(config: BoxAugmentationConfig) -> Change | None:
    """Makes the function that augments stored batches of pictures with boxes (see
    `jaxmodels.data.boxes.box_spec`); None if the config changes nothing.

    Apply it to the whole batch, before that is normalised or split. Pictures stay uint8. A batch
    afterwards has the columns "image", "boxes", "labels" and "crowd" changed, and no "scale" and
    "size", which its pictures do not have any more. Draws depend on the key and on an example's
    position in the global batch, not on the number of devices.
    """
    config.validate()
    places, strengths = config.places, config.jitter_strengths()
    if not (places or config.picture_mixup or any(strengths) or config.erasing):
        return None

    def augment(batch: Batch, key: Key[Array, ""]) -> Batch:
        boxed = augmentation.Boxed(*(batch[name] for name in ("image", "boxes", "labels", "crowd")))
        positions = batch.get("position", across.positions(len(boxed.images)))
        room = config.room or boxed.labels.shape[1] * (
            2 if config.mosaic or config.picture_mixup else 1
        )

        def keys(number: int) -> Key[Array, " batch"]:
            return example_keys(jax.random.fold_in(key, number), positions)

        if places:
            extents = batch["size"][:, ::-1] * batch["scale"][:, None]
            boxed = augmentation.random_places(
                boxed, extents, keys(_PLACES), places, config.least_visible, GREY, room
            )
        if config.picture_mixup:
            boxed = augmentation.mixed_pictures(boxed, keys(_MIX), config.picture_mixup, room)
        if any(strengths):
            images = augmentation.color_jitter(boxed.images, keys(_COLOURS), strengths)
            boxed = boxed._replace(images=images)
        if config.erasing:
            boxed = augmentation.erased_pictures(
                boxed, keys(_ERASE), config.erasing, config.least_visible, _ERASED, GREY
            )
        rest = {name: column for name, column in batch.items() if name not in ("scale", "size")}
        changed = {"image": boxed.images, "labels": boxed.labels, "crowd": boxed.crowd}
        return {**rest, **changed, "boxes": boxed.boxes.astype(jnp.float32)}

    return augment


GREY = 114  # of what no picture covers, as in a letterbox
_ERASED = (0.02, 0.2)  # least and greatest share of a picture that erasing takes

# The number of a change is folded into its keys, so that no flag alters the draws of another.
_PLACES, _MIX, _COLOURS, _ERASE = range(4)
