"""Pictures scaled, shifted, mirrored and put together with their boxes, inside the compiled step.

A picture lies at the top left of a canvas; its `extent` is its part of that. One picture fills the
new canvas, or four of them do, a quarter each (mosaic; Bochkovskiy et al. 2020, section 3.4).

Pixels are looked up and blended bilinearly, as OpenCV's INTER_LINEAR does, without antialias. On a
CPU this takes a fifth of the time of two products with matrices of weights, and a mosaic costs no
more than one picture.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from jaxmodels.ops.augmentation.crops import Number

Pair = tuple[float, float]
# Numbers that one example draws: for the mosaic 3, for each of four tiles 6.
DRAWS = 3 + 4 * 6


class Tiles(NamedTuple):
    """Where pictures go: x of a picture goes to factor * x + shift of the canvas, and y alike; a
    negative factor mirrors. Tile k is shown right of `meeting`'s x if k is odd, and below its y if
    k is 2 or more."""

    factor: Float[Array, "batch tile 2"]
    shift: Float[Array, "batch tile 2"]
    meeting: Float[Array, "batch 2"]  # x, y in pixels of the canvas; with one tile, its end


class Jitter(NamedTuple):
    """How far pictures may be changed.

    scale: least and greatest factor, whose log is uniform. aspect: up to how much wider than tall
    they get, or taller, as a factor of at least 1. flip, vertical_flip: shares of mirrored ones.
    mosaic: share of canvases with four pictures, which meet in the middle 40% of each side.
    """

    scale: Pair = (1.0, 1.0)
    aspect: float = 1.0
    flip: float = 0.0
    vertical_flip: float = 0.0
    mosaic: float = 0.0


def random_tiles(
    keys: Key[Array, " batch"],
    extents: Float[Array, "batch tile 2"],
    canvas: tuple[int, int],
    jitter: Jitter,
) -> Tiles:
    """Draws places for one or four pictures: those that are smaller than their part of the canvas
    lie anywhere in it, and of larger ones any part is shown.

    extents: width and height of the pictures. canvas: height and width.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (DRAWS,)))(keys)
    tiles = extents.shape[1]
    sides = jnp.array([canvas[1], canvas[0]], jnp.float32)
    meeting = jnp.broadcast_to(sides, (len(keys), 2))
    is_mosaic = jnp.zeros(len(keys), bool)
    if tiles > 1:
        is_mosaic = draws[:, 0] < jitter.mosaic
        meeting = jnp.where(is_mosaic[:, None], sides * (0.3 + 0.4 * draws[:, 1:3]), meeting)
    each = draws[:, 3:].reshape(-1, 4, 6)[:, :tiles]
    low, high = jnp.log(jnp.array(jitter.scale, jnp.float32))
    scale = jnp.exp(low + (high - low) * each[..., 0])
    stretch = jnp.exp(jnp.log(jitter.aspect) * (each[..., 1] - 0.5))
    size = jnp.stack([scale * stretch, scale / stretch], axis=-1)
    start, end = _parts(meeting, sides, tiles)
    shift = start + each[..., 2:4] * (end - start - size * extents)
    shares = jnp.array([jitter.flip, jitter.vertical_flip])
    mirrored = each[..., 4:6] < shares
    shift = jnp.where(mirrored, shift + size * extents, shift)
    return Tiles(jnp.where(mirrored, -size, size), shift, meeting)


def _parts(
    meeting: Float[Array, "batch 2"], sides: Float[Array, "2"], tiles: int
) -> tuple[Float[Array, "batch {tiles} 2"], Float[Array, "batch {tiles} 2"]]:
    """Computes the corners of the parts of the canvas in which tiles are shown."""
    later = jnp.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)[:tiles]
    start = jnp.where(later, meeting[:, None], 0)
    return start, jnp.where(later, sides, meeting[:, None])


def placed_pixels(
    images: UInt8[Array, "batch tile height width channels"],
    extents: Float[Array, "batch tile 2"],
    tiles: Tiles,
    fill: Number = 114,
) -> UInt8[Array, "batch height width channels"]:
    """Draws the canvases. fill: the value of what no picture covers."""
    batch, count, height, width, channels = images.shape
    column = [_looked_up(extents, tiles, tile, 0, width) for tile in range(count)]
    row = [_looked_up(extents, tiles, tile, 1, height) for tile in range(count)]
    if count == 1:
        across, down = (
            [part[:, None] for part in column[0]],
            [part[:, :, None] for part in row[0]],
        )
        first = jnp.zeros((), jnp.int32)
    else:
        right = (jnp.arange(width) + 0.5 >= tiles.meeting[:, :1])[:, None]
        below = (jnp.arange(height) + 0.5 >= tiles.meeting[:, 1:])[:, :, None]

        def chosen(parts, axis):
            """Chooses for each pixel what its tile says."""
            at = [jnp.expand_dims(part, axis) for part in parts]
            above, under = jnp.where(right, at[1], at[0]), jnp.where(right, at[3], at[2])
            return jnp.where(below, under, above)

        across = [chosen(parts, 1) for parts in zip(*column)]
        down = [chosen(parts, 2) for parts in zip(*row)]
        first = (2 * below + right) * (height * width)
    flat = images.reshape(batch, count * height * width, channels)
    (left, share_x, inside_x), (top, share_y, inside_y) = across, down
    # The pixel after the last is never far: its weight is zero there.
    step_x = jnp.where(share_x > 0, 1, 0)
    step_y = jnp.where(share_y > 0, width, 0)
    corner = first + top * width + left

    def pixels(places: Int[Array, "batch height width"]) -> Float[Array, "batch height width c"]:
        found = jax.vmap(lambda source, at: source.at[at].get(mode="promise_in_bounds"))(
            flat, jnp.broadcast_to(places, (batch, height, width))
        )
        return found.astype(jnp.float32)

    share_x, share_y = share_x[..., None], share_y[..., None]
    upper = pixels(corner) * (1 - share_x) + pixels(corner + step_x) * share_x
    corner = corner + step_y
    lower = pixels(corner) * (1 - share_x) + pixels(corner + step_x) * share_x
    drawn = jnp.round(upper * (1 - share_y) + lower * share_y)
    covered = (inside_x & inside_y)[..., None]
    return jnp.where(covered, drawn, fill).astype(images.dtype)


def _looked_up(
    extents: Float[Array, "batch tile 2"], tiles: Tiles, tile: int, axis: int, side: int
) -> tuple[Int[Array, "batch {side}"], Float[Array, "batch {side}"], Bool[Array, "batch {side}"]]:
    """Computes for each column (axis 0) or row of the canvas the first of two of the picture that
    it lies between, the share of the second, and whether the picture covers it."""
    factor, shift = tiles.factor[:, tile, axis, None], tiles.shift[:, tile, axis, None]
    extent = extents[:, tile, axis, None]
    edge = (jnp.arange(side) + 0.5 - shift) / factor
    last = jnp.clip(jnp.ceil(extent) - 1, 0, side - 1)
    place = jnp.clip(edge - 0.5, 0, last)
    first = jnp.floor(place)
    return first.astype(jnp.int32), place - first, (edge >= 0) & (edge < extent)


def placed_boxes(
    boxes: Float[Array, "batch tile most 4"],
    tiles: Tiles,
    canvas: tuple[int, int],
    least: float = 0.3,
    narrowest: float = 2.0,
) -> tuple[Float[Array, "batch tile most 4"], Bool[Array, "batch tile most"]]:
    """Moves boxes with their pictures, cuts them at the edges of the part that is shown, and says
    which of them remain visible.

    least: share of its area that a visible box has kept. narrowest: pixels of its shorter side.
    """
    factor, shift = tiles.factor[:, :, None], tiles.shift[:, :, None]
    ends = boxes[..., :2] * factor + shift, boxes[..., 2:] * factor + shift
    low, high = jnp.minimum(*ends), jnp.maximum(*ends)
    sides = jnp.array([canvas[1], canvas[0]], jnp.float32)
    start, end = _parts(tiles.meeting, sides, boxes.shape[1])
    start, end = start[:, :, None], end[:, :, None]
    whole = jnp.prod(high - low, axis=-1)
    low, high = (jnp.clip(corner, start, jnp.maximum(end, start)) for corner in (low, high))
    kept = high - low
    visible = (jnp.prod(kept, axis=-1) >= least * whole) & (jnp.min(kept, axis=-1) >= narrowest)
    return jnp.concatenate([low, high], axis=-1), visible
