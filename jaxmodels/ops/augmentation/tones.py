"""Changes of brightness and colour, each with the values of a torchvision kernel.

Images here are float32 *levels*: whole numbers in 0..255, [batch height width channels] with one
channel (grey) or three (red, green, blue). Each docstring names the kernel.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxmodels.ops.augmentation.crops import Images, Number

Levels = Float[Array, "batch height width channels"]
PerExample = Float[Array, " batch"]


def to_levels(images: Images, white: Number = 255) -> Levels:
    """Converts images in 0..white to levels, and rounds unless they are whole levels already."""
    levels = images.astype(jnp.float32)
    if white == 255 and jnp.issubdtype(images.dtype, jnp.integer):
        return levels
    return jnp.clip(jnp.round(levels * (255 / white)), 0, 255)


def from_levels(levels: Levels, dtype: DTypeLike, white: Number = 255) -> Images:
    """Converts levels to images in 0..white of a type, and rounds where the type is of integers."""
    images = levels if white == 255 else levels * (white / 255)
    return (jnp.round(images) if jnp.issubdtype(dtype, jnp.integer) else images).astype(dtype)


def _per_pixel(values: PerExample) -> Float[Array, "batch 1 1 1"]:
    return jnp.asarray(values)[:, None, None, None]


def grey_of(levels: Levels) -> Float[Array, "batch height width 1"]:
    """Computes luma by the weights of ITU-R 601, rounded down; grey images are returned as is."""
    if levels.shape[-1] == 1:
        return levels
    red, green, blue = (levels[..., channel : channel + 1] for channel in range(3))
    return jnp.floor(red * 0.2989 + green * 0.587 + blue * 0.114)


def smoothed(levels: Levels) -> Levels:
    """Averages each pixel, counted five times, with its eight neighbours.

    The outermost pixels stay as they are.
    """
    height, width = levels.shape[1:3]
    if min(height, width) < 3:
        return levels
    rows = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    square = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = jnp.round((square + 4 * levels[:, 1:-1, 1:-1]) / 13)
    return jax.lax.dynamic_update_slice(levels, inner, (0, 1, 1, 0))


def blend(levels: Levels, other: Float[Array, "..."] | Number, factors: PerExample) -> Levels:
    """Computes other + factor * (levels - other), clipped to 0..255 and rounded down.

    A factor of 1 changes nothing, 0 gives `other`, and more than 1 goes away from it.
    """
    factors = _per_pixel(factors)
    blended = jnp.floor(jnp.clip(levels * factors + other * (1 - factors), 0, 255))
    # Where both are the same level, the sum of its two parts may round to just below it.
    return jnp.where(levels == other, levels, blended)


def brightness(levels: Levels, factors: PerExample) -> Levels:
    """Multiplies levels by the factor (adjust_brightness)."""
    return blend(levels, 0.0, factors)


def mean_grey(levels: Levels) -> Float[Array, "batch 1 1 1"]:
    """Computes the mean luma of each image."""
    return jnp.mean(grey_of(levels), axis=(1, 2, 3), keepdims=True)


def contrast(levels: Levels, factors: PerExample) -> Levels:
    """Moves levels away from the mean grey (adjust_contrast)."""
    return blend(levels, mean_grey(levels), factors)


def color(levels: Levels, factors: PerExample) -> Levels:
    """Moves levels away from the grey image (adjust_saturation); grey images stay as they are."""
    return blend(levels, grey_of(levels), factors)


def sharpness(levels: Levels, factors: PerExample) -> Levels:
    """Moves levels away from the smoothed image (adjust_sharpness), except the outermost pixels."""
    return blend(levels, smoothed(levels), factors)


def posterize(levels: Levels, bits: PerExample) -> Levels:
    """Keeps only the highest bits of each level, 0..8 of them (posterize)."""
    steps = _per_pixel(jnp.exp2(8.0 - bits))
    return jnp.floor(levels / steps) * steps


def solarize(levels: Levels, thresholds: PerExample) -> Levels:
    """Inverts the levels from the threshold on (solarize)."""
    return jnp.where(levels >= _per_pixel(thresholds), 255 - levels, levels)


def autocontrast(levels: Levels) -> Levels:
    """Stretches each channel to 0..255, rounded down (autocontrast); a constant one stays as it is.

    Where the quotient is whole, torchvision's rounding may give one level less.
    """
    low = jnp.min(levels, axis=(1, 2), keepdims=True)
    high = jnp.max(levels, axis=(1, 2), keepdims=True)
    stretched = (levels - low) * 255 / jnp.maximum(high - low, 1)
    # The summand keeps a whole quotient from falling just below itself. It lifts no other to the
    # next whole number, from which others are at least 1/255 away.
    return jnp.where(high > low, jnp.floor(stretched + 1e-3), levels)


def histogram(values: Int[Array, "batch channels pixels"]) -> Int[Array, "batch channels 256"]:
    """Counts how often each of 0..255 occurs."""
    # A scatter adds integers exactly in any order. On a CPU it is many times as fast as products of
    # one-hot digits or comparisons with each level.
    one = jax.vmap(lambda v: jnp.zeros(256, jnp.int32).at[v].add(1, mode="promise_in_bounds"))
    return jax.vmap(one)(values)


def equalize(levels: Levels) -> Levels:
    """Makes the histogram of each channel flat (equalize, in the integer arithmetic of Pillow).

    Images of less than 256 pixels stay as they are, as in Pillow.
    """
    batch, height, width, channels = levels.shape
    values = levels.astype(jnp.int32).reshape(batch, height * width, channels).swapaxes(1, 2)
    counts = histogram(values)
    up_to = jnp.cumsum(counts, axis=2)
    brightest = jnp.max(jnp.where(up_to == height * width, counts, 0), axis=2, keepdims=True)
    steps = (height * width - brightest) // 255
    table = jnp.clip((up_to - counts + steps // 2) // jnp.maximum(steps, 1), 0, 255)
    table = jnp.where(steps > 0, table, jnp.arange(256))
    equal = jnp.take_along_axis(table, values, axis=2, mode="promise_in_bounds").swapaxes(1, 2)
    return equal.reshape(levels.shape).astype(jnp.float32)
