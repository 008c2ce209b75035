"""Changes of brightness and colour, each with the numbers of torchvision's kernel of that name.

Pictures here are float32 *levels*: whole numbers in 0..255, [batch height width channels] with one
channel (grey) or three (red, green, blue).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

Levels = Float[Array, "batch height width channels"]
PerExample = Float[Array, " batch"]


def to_levels(images: Num[Array, "batch height width channels"], white: float = 255) -> Levels:
    """Images in 0..white as levels; of another white or not whole they are rounded."""
    levels = images.astype(jnp.float32)
    if white == 255 and jnp.issubdtype(images.dtype, jnp.integer):
        return levels
    return jnp.clip(jnp.round(levels * (255 / white)), 0, 255)


def from_levels(
    levels: Levels, dtype: jnp.dtype, white: float = 255
) -> Num[Array, "batch height width channels"]:
    """The inverse of `to_levels`; rounded where the type holds integers."""
    images = levels if white == 255 else levels * (white / 255)
    return (jnp.round(images) if jnp.issubdtype(dtype, jnp.integer) else images).astype(dtype)


def _each(values: PerExample) -> Float[Array, "batch 1 1 1"]:
    return jnp.asarray(values)[:, None, None, None]


def grey_of(levels: Levels) -> Float[Array, "batch height width 1"]:
    """Luma by the weights of ITU-R 601, rounded down; a grey picture is its own."""
    if levels.shape[-1] == 1:
        return levels
    red, green, blue = (levels[..., channel : channel + 1] for channel in range(3))
    return jnp.floor(red * 0.2989 + green * 0.587 + blue * 0.114)


def smoothed(levels: Levels) -> Levels:
    """Each pixel averaged with its eight neighbours, itself counted five times; the outermost
    pixels stay."""
    height, width = levels.shape[1:3]
    if min(height, width) < 3:
        return levels
    rows = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    square = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = jnp.round((square + 4 * levels[:, 1:-1, 1:-1]) / 13)
    return jax.lax.dynamic_update_slice(levels, inner, (0, 1, 1, 0))


def blend(levels: Levels, other: Float[Array, "..."], factors: PerExample) -> Levels:
    """other + factor * (levels - other), kept in 0..255 and rounded down: a factor of 1 changes
    nothing, 0 gives the other, and more than 1 goes away from it."""
    factors = _each(factors)
    blended = jnp.floor(jnp.clip(levels * factors + other * (1 - factors), 0, 255))
    # The sum of the parts of one number may round to just below it.
    return jnp.where(levels == other, levels, blended)


def brightness(levels: Levels, factors: PerExample) -> Levels:
    """Away from black (adjust_brightness)."""
    return blend(levels, 0.0, factors)


def mean_grey(levels: Levels) -> Float[Array, "batch 1 1 1"]:
    """The mean luma of each picture."""
    return jnp.mean(grey_of(levels), axis=(1, 2, 3), keepdims=True)


def contrast(levels: Levels, factors: PerExample) -> Levels:
    """Away from the mean grey (adjust_contrast)."""
    return blend(levels, mean_grey(levels), factors)


def color(levels: Levels, factors: PerExample) -> Levels:
    """Away from the grey picture (adjust_saturation); grey pictures stay."""
    return blend(levels, grey_of(levels), factors)


def sharpness(levels: Levels, factors: PerExample) -> Levels:
    """Away from the smoothed picture (adjust_sharpness); the outermost pixels stay."""
    return blend(levels, smoothed(levels), factors)


def posterize(levels: Levels, bits: Float[Array, " batch"]) -> Levels:
    """Only the highest bits of each level, 0..8 of them (posterize)."""
    steps = _each(jnp.exp2(8.0 - bits))
    return jnp.floor(levels / steps) * steps


def solarize(levels: Levels, thresholds: PerExample) -> Levels:
    """Levels from the threshold on inverted (solarize)."""
    return jnp.where(levels >= _each(thresholds), 255 - levels, levels)


def autocontrast(levels: Levels) -> Levels:
    """Each channel stretched to 0..255, rounded down (autocontrast, which may be one below where
    the quotient is whole); a constant one stays."""
    low = jnp.min(levels, axis=(1, 2), keepdims=True)
    high = jnp.max(levels, axis=(1, 2), keepdims=True)
    stretched = (levels - low) * 255 / jnp.maximum(high - low, 1)
    # Whole quotients must not be rounded to just below; others are at least 1/255 below the next.
    return jnp.where(high > low, jnp.floor(stretched + 1e-3), levels)


def histogram(values: Int[Array, "batch channels pixels"]) -> Int[Array, "batch channels 256"]:
    """How often each of 0..255 occurs."""
    # Scatters, which integers add exactly in any order: on two CPU cores 1.1 ms for 128 pictures
    # of 32x32x3, where products of one-hot digits took 6.5 and comparisons with each level 36.
    one = jax.vmap(lambda v: jnp.zeros(256, jnp.int32).at[v].add(1, mode="promise_in_bounds"))
    return jax.vmap(one)(values)


def equalize(levels: Levels) -> Levels:
    """Each channel with its histogram made flat (equalize, with the integer arithmetic of Pillow).
    Pictures of less than 256 pixels stay as they are, as they do there."""
    batch, height, width, channels = levels.shape
    values = levels.astype(jnp.int32).reshape(batch, height * width, channels).swapaxes(1, 2)
    counts = histogram(values)
    up_to = jnp.cumsum(counts, axis=2)
    brightest = jnp.max(jnp.where(up_to == height * width, counts, 0), axis=2, keepdims=True)
    steps = (height * width - brightest) // 255
    table = jnp.clip((up_to - counts + steps // 2) // jnp.maximum(steps, 1), 0, 255)
    table = jnp.where(steps > 0, table, jnp.arange(256))
    found = jnp.take_along_axis(table, values, axis=2, mode="promise_in_bounds").swapaxes(1, 2)
    return found.reshape(levels.shape).astype(jnp.float32)
