"""RandAugment (Cubuk et al. 2020): a few operations per picture, drawn from a list of 14."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from jaxmodels.ops.augmentation import tones
from jaxmodels.ops.augmentation.warps import warp

# Those of the paper, and of torchvision's RandAugment in its order.
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
_WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "color", "contrast", "sharpness")


def apply_operations(
    levels: tones.Levels,
    operations: Int[Array, " batch"],
    strength: Float[Array, ""] | float,
    signs: Float[Array, " batch"],
    fill: float = 0,
) -> tones.Levels:
    """Each picture changed by one of OPERATIONS, given by number.

    strength: 0..1, of torchvision's ranges: shears of up to 0.3, translations by up to 150/331 of
      the side, 30 degrees, factors of 1 +- 0.9, from 8 bits down to 4, from threshold 255 to 0.
    signs: 1 or -1, the direction of what has two.

    All of a batch goes through one warp, one blend and the other tones, which together cost less
    than a branch for each operation: under vmap every branch would run anyway.
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

    def select(choices, default):
        conditions = [chosen(name)[:, None, None, None] for name in choices]
        return jnp.select(conditions, list(choices.values()), default)

    others = {
        "color": tones.grey_of(levels),
        "contrast": tones.mean_grey(levels),
        "sharpness": tones.smoothed(levels),
    }
    others = {name: jnp.broadcast_to(other, levels.shape) for name, other in others.items()}
    blended = tones.blend(levels, select(others, 0.0), 1 + 0.9 * amounts)
    count = len(operations)
    # Each works on the picture as it came, since XLA would warp it again for each that follows.
    changed = dict.fromkeys(_WARPS, warped) | dict.fromkeys(_BLENDS, blended)
    changed |= {
        "posterize": tones.posterize(levels, jnp.full(count, 8 - jnp.round(4 * strength))),
        "solarize": tones.solarize(levels, jnp.full(count, 255 * (1 - strength))),
        "autocontrast": tones.autocontrast(levels),
        "equalize": tones.equalize(levels),
    }
    return select(changed, levels)


def rand_augment(
    images: Num[Array, "batch height width channels"],
    keys: Key[Array, " batch"],
    layers: int = 2,
    magnitude: float = 9,
    white: float = 255,
    fill: float = 0,
) -> Num[Array, "batch height width channels"]:
    """Each image changed by `layers` operations one after another, each drawn uniformly from
    OPERATIONS, in a direction drawn uniformly; torchvision's RandAugment.

    magnitude: of all of them, 0..30 (torchvision's 31 bins). On the scale of 0..10 of TensorFlow
      code, as big_vision's randaug(2, 10), it is a third of that.
    white: the images are in 0..white; of another than 255, or not whole, they are rounded to 256
      levels, which is what the operations are defined on.
    fill: level of 0..255 of what a warp uncovers.

    Raises:
      ValueError: images that have neither one nor three channels.
    """
    if images.shape[-1] not in (1, 3):
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
