"""ColorJitter: brightness, contrast, saturation and hue changed at random, in a random order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels.ops.augmentation import tones
from jaxmodels.ops.augmentation.crops import Images, Number

CHANNELS = (1, 2, 3, 4)  # of grey or RGB, without and with transparency


class Strengths(NamedTuple):
    """How far each property may go: a factor is uniform in max(0, 1 - strength)..1 + strength, and
    a turn of the hue in -strength..strength of the circle."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


def turn_hue(levels: tones.Levels, turns: tones.PerExample) -> tones.Levels:
    """Turns the hue by a share of the circle (adjust_hue); grey images stay as they are."""
    if levels.shape[-1] == 1:
        return levels
    red, green, blue = jnp.moveaxis(levels / 255, -1, 0)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * turns[:, None, None]

    def channel(shift: int) -> Float[Array, "batch height width"]:
        place = jnp.mod(sixths + shift, 6)
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    turned = jnp.stack([channel(shift) for shift in (5, 3, 1)], axis=-1)
    return jnp.floor(turned * 255.999)  # as torchvision converts to 8 bits


def jitter(
    levels: tones.Levels,
    properties: Int[Array, "batch change"],
    amounts: Float[Array, "batch change"],
    turns_hue: bool = True,
) -> tones.Levels:
    """Changes properties of each image one after another, given by their numbers in `Strengths`.

    amounts: factors, and turns of the hue. turns_hue: whether any of the properties is the hue.
    """
    for change in range(properties.shape[1]):
        chosen = properties[:, change][:, None, None, None]
        amount = amounts[:, change]
        # Three of the four are blends, so that the whole batch goes through one.
        others = (jnp.zeros_like(levels), tones.mean_grey(levels), tones.grey_of(levels))
        others = [jnp.broadcast_to(other, levels.shape) for other in others]
        other = jnp.select([chosen == number for number in range(3)], others)
        changed = tones.blend(levels, other, amount)
        if turns_hue:
            changed = jnp.where(chosen == 3, turn_hue(levels, amount), changed)
        levels = changed
    return levels


def color_jitter(
    images: Images, keys: Key[Array, " batch"], strengths: Strengths, white: Number = 255
) -> Images:
    """Changes each image as torchvision's ColorJitter: the properties with a strength above zero,
    each by its own random amount, in a random order. Transparency stays as it is, as Pillow's
    enhancements leave it; the colours below it count.

    white: the images are in 0..white; see `rand_augment`.

    Raises:
      ValueError: images of more than four channels.
    """
    if images.shape[-1] not in CHANNELS:
        raise ValueError(f"images have {images.shape[-1]} channels; ColorJitter needs 1 to 4")
    colours = 1 if images.shape[-1] < 3 else 3
    images, transparency = images[..., :colours], images[..., colours:]
    changed = [number for number, strength in enumerate(strengths) if strength]
    reach = jnp.array([strengths[number] for number in changed], jnp.float32)
    hue = jnp.array([number == 3 for number in changed])
    low = jnp.where(hue, -reach, jnp.maximum(0, 1 - reach))
    high = jnp.where(hue, reach, 1 + reach)

    def draw(key):
        order_key, amount_key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(changed))
        amounts = low + (high - low) * jax.random.uniform(amount_key, low.shape)
        return jnp.array(changed)[order], amounts[order]

    properties, amounts = jax.vmap(draw)(keys)
    levels = jitter(tones.to_levels(images, white), properties, amounts, bool(strengths.hue))
    changed_images = tones.from_levels(levels, images.dtype, white)
    if not transparency.shape[-1]:
        return changed_images
    return jnp.concatenate([changed_images, transparency], axis=-1)
