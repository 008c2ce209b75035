"""RandAugment (Cubuk et al. 2020): a few operations per image, drawn from a list of 14."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels.ops.augmentation import tones
from jaxmodels.ops.augmentation.crops import Images, Number, Scalar
from jaxmodels.ops.augmentation.warps import warp

# The paper's operations, in the order of torchvision's RandAugment.
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
MOST = 30  # the largest magnitude
CHANNELS = (1, 3)
_WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "color", "contrast", "sharpness")


def apply_operations(
    levels: tones.Levels,
    operations: Int[Array, " batch"],
    strength: Scalar,
    signs: Float[Array, " batch"],
    fill: Number = 0,
) -> tones.Levels:
    """Changes each image by one of OPERATIONS, given by its number.

    strength: 0..1, from no change to the end of torchvision's range: shears of 0.3, translations by
      150/331 of the side, 30 degrees, factors of 1 +- 0.9, posterizing to 4 of 8 bits, a threshold
      of 255 down to 0 for solarizing.
    signs: 1 or -1, the direction of an operation that has two.
    fill: the level of pixels that a warp uncovers.

    The whole batch goes through one warp, one blend and each of the other operations, and each
    image takes its own result. This costs less than a branch for each operation, because under
    `vmap` every branch would run.
    """
    height, width = levels.shape[1:3]

    def chosen(name):
        return operations == OPERATIONS.index(name)

    def only(name, values):
        return jnp.where(chosen(name), values, 0.0)

    amounts = strength * signs
    warped = warp(
        levels,
        degrees=only("rotate", 30 * amounts),
        shear_x=only("shear_x", 0.3 * amounts),
        shear_y=only("shear_y", 0.3 * amounts),
        right=only("translate_x", jnp.trunc(150 / 331 * width * amounts)),
        down=only("translate_y", jnp.trunc(150 / 331 * height * amounts)),
        fill=fill,
    )

    def select(results, default):
        conditions = [chosen(name)[:, None, None, None] for name in results]
        return jnp.select(conditions, list(results.values()), default)

    others = {
        "color": tones.grey_of(levels),
        "contrast": tones.mean_grey(levels),
        "sharpness": tones.smoothed(levels),
    }
    others = {name: jnp.broadcast_to(other, levels.shape) for name, other in others.items()}
    blended = tones.blend(levels, select(others, 0.0), 1 + 0.9 * amounts)
    count = len(operations)
    # All operations read the image as it came: XLA would warp it again for each that read the warp.
    results = dict.fromkeys(_WARPS, warped) | dict.fromkeys(_BLENDS, blended)
    results |= {
        "posterize": tones.posterize(levels, jnp.full(count, 8 - jnp.round(4 * strength))),
        "solarize": tones.solarize(levels, jnp.full(count, 255 * (1 - strength))),
        "autocontrast": tones.autocontrast(levels),
        "equalize": tones.equalize(levels),
    }
    return select(results, levels)


def rand_augment(
    images: Images,
    keys: Key[Array, " batch"],
    layers: int = 2,
    magnitude: Scalar = 9,
    white: Number = 255,
    fill: Number = 0,
) -> Images:
    """Changes each image by `layers` operations one after another, as torchvision's RandAugment.

    Each operation is drawn uniformly from OPERATIONS, and so is its direction.

    magnitude: of all operations, 0..30 (torchvision's 31 bins). TensorFlow code has a scale of
      0..10, such as big_vision's randaug(2, 10): three times its number is the one here.
    white: the images are in 0..white. The operations are defined on 256 whole levels, to which
      images of another white or of another type are rounded.
    fill: the level, 0..255, of pixels that a warp uncovers.

    Raises:
      ValueError: images that have neither one nor three channels.
    """
    if images.shape[-1] not in CHANNELS:
        raise ValueError(f"images have {images.shape[-1]} channels; RandAugment needs 1 or 3")

    def draw(key):
        operation, sign = jax.random.split(key)
        number = jax.random.randint(operation, (layers,), 0, len(OPERATIONS))
        return number, jax.random.rademacher(sign, (layers,), jnp.float32)

    operations, signs = jax.vmap(draw, out_axes=1)(keys)
    levels = tones.to_levels(images, white)
    for layer in range(layers):
        levels = apply_operations(levels, operations[layer], magnitude / MOST, signs[layer], fill)
    return tones.from_levels(levels, images.dtype, white)
