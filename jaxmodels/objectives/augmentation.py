"""The flags of augmentation, and the function that augments a batch of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from jaxtyping import Array, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.ops import augmentation
from jaxmodels.protocol import Batch, example_keys


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How training images are changed at each step, in the order of these flags.

    Each number is a constant of the compiled step.
    """

    flip: bool = False
    """Mirror half of the images left to right."""
    crop: int = 0
    """Shift each image by up to this many pixels each way and fill in black."""
    color_jitter: tuple[float, ...] = ()
    """Change brightness, contrast and saturation by random factors of 1 +- this strength, in a
    random order; four strengths: of brightness, contrast, saturation and hue (at most 0.5, of the
    circle), as torchvision's ColorJitter. Transparency stays as it is."""
    rand_augment_layers: int = 0
    """RandAugment: operations per image, of 14 (usually 2); 0: none."""
    rand_augment_magnitude: float = 9.0
    """Strength of RandAugment's operations, 0 to 30."""
    erasing: float = 0.0
    """Share of the images that get a rectangle of noise, of 2% to 33% of the area."""
    mixup: float = 0.0
    """Mix each image and label with another's, by a share from Beta(a, a) with this a; 0: never."""
    cutmix: float = 0.0
    """Paste a box of another image, of an area from Beta(a, a) with this a, and mix the labels by
    area; with --mixup, each batch gets one of the two."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        if self.crop < 0 or self.rand_augment_layers < 0:
            raise InputError(
                f"crop = {self.crop}, rand_augment_layers = {self.rand_augment_layers};"
                " expected at least 0"
            )
        self.jitter_strengths()
        for name, most in (
            ("rand_augment_magnitude", 30),
            ("erasing", 1),
            ("mixup", math.inf),
            ("cutmix", math.inf),
        ):
            value = getattr(self, name)
            if not (0 <= value <= most and math.isfinite(value)):
                limit = f"0 <= {name} <= {most}" if most < math.inf else "a finite number >= 0"
                raise InputError(f"{name} = {value}; expected {limit}")

    def jitter_strengths(self) -> augmentation.Strengths:
        """Returns the strengths of the color jitter; all are 0 without one.

        Raises:
          InputError: other than one or four numbers, or one out of range.
        """
        given = self.color_jitter
        wrong = len(given) not in (0, 1, 4) or not all(0 <= s < math.inf for s in given)
        strengths = augmentation.Strengths(*(given * 3 if len(given) == 1 else given[:4]))
        if wrong or strengths.hue > 0.5:
            shown = " ".join(f"{strength:g}" for strength in given)
            raise InputError(
                f"color_jitter = {shown}; expected one strength or four (brightness, contrast,"
                " saturation, hue), all >= 0 and hue <= 0.5, as --color-jitter 0.4 0.4 0.4 0.1"
            )
        return strengths


def make_augmentation(
    config: AugmentationConfig,
    classes: int = 0,
    white: float = 255.0,
    input_name: str = "image",
    channels: int | None = None,
) -> Change | None:
    """Makes the function that augments stored batches; None if the config changes nothing.

    The function takes a batch {input_name: Num[batch height width channels] in 0..white, ...} and a
    key. Apply it to the whole batch, before that is normalised or split. Images keep their type,
    except that mixing makes them float32 and adds probabilities "target", Float[batch classes],
    made from "label", Int[batch].

    Draws depend on the key and on an example's position in the global batch (in an evaluation, in
    the split), not on the number of devices. Two keys give two views of a batch.

    classes: the number of labels; 0: there are none, and nothing can be mixed.
    channels: of the images, if they are known.

    Raises:
      InputError: mixing without classes, or RandAugment of images with transparency, or
        ColorJitter of more than four channels.
    """
    if any(config.jitter_strengths()) and channels not in (
        None,
        *augmentation.COLOR_JITTER_CHANNELS,
    ):
        raise InputError(
            f"color_jitter = {config.color_jitter}; it takes grey or RGB images, with or without"
            f" transparency, and these have {channels} channels: leave out --color-jitter"
        )
    if config.rand_augment_layers and channels not in (None, *augmentation.RAND_AUGMENT_CHANNELS):
        raise InputError(
            f"rand_augment_layers = {config.rand_augment_layers}; RandAugment takes grey or RGB"
            f" images, and these have {channels} channels (the last one is transparency): give"
            " --rand-augment-layers 0, or store the images without transparency"
        )
    mixes = bool(config.mixup or config.cutmix)
    if mixes and classes < 1:
        raise InputError(
            f"mixup = {config.mixup}, cutmix = {config.cutmix}; expected 0: these mix labels,"
            " and this data has none"
        )
    changes = _image_changes(config, white)
    if not changes and not mixes:
        return None

    def augment(batch: Batch, key: Key[Array, ""]) -> Batch:
        images = batch[input_name]
        positions = batch.get("position", across.positions(len(images)))
        for number, change in changes.items():
            keys = example_keys(jax.random.fold_in(key, number), positions)
            images = change(images, keys)
        if not mixes:
            return {**batch, input_name: images}
        targets = jax.nn.one_hot(batch["label"], classes)
        images, targets = augmentation.random_mix(
            images, targets, jax.random.fold_in(key, _MIX), config.mixup, config.cutmix
        )
        return {**batch, input_name: images, "target": targets}

    return augment


# The number of a change is folded into its keys, so that no flag alters the draws of another.
_FLIP, _CROP, _RAND_AUGMENT, _ERASE, _MIX, _JITTER = range(6)


def _image_changes(config: AugmentationConfig, white: float) -> dict[int, Callable]:
    """Lists the changes of single images, in the order of their application."""
    changes = {}
    if config.flip:
        changes[_FLIP] = augmentation.random_flip
    # Cropping comes after flipping, because XLA's CPU backend is slower the other way round.
    if config.crop:
        changes[_CROP] = partial(augmentation.random_crop, padding=config.crop)
    if any(strengths := config.jitter_strengths()):
        changes[_JITTER] = partial(augmentation.color_jitter, strengths=strengths, white=white)
    if config.rand_augment_layers:
        changes[_RAND_AUGMENT] = partial(
            augmentation.rand_augment,
            white=white,
            layers=config.rand_augment_layers,
            magnitude=config.rand_augment_magnitude,
        )
    if config.erasing:
        changes[_ERASE] = partial(
            augmentation.random_erasing, probability=config.erasing, fill="noise", white=white
        )
    return changes
