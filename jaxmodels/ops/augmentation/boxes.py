"""Augmentation of pictures with boxes: what changes places, and mixing of pictures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from jaxmodels import across
from jaxmodels.ops.augmentation.crops import Number
from jaxmodels.ops.augmentation.erasing import inside, random_boxes
from jaxmodels.ops.augmentation.tiles import Jitter, placed_boxes, placed_pixels, random_tiles
from jaxmodels.ops.materialize import materialize_on_cpu

_TILES = 4


class Boxed(NamedTuple):
    """Pictures with boxes (x0, y0, x1, y1) in pixels; a label of -1 stands for no box."""

    images: UInt8[Array, "batch height width channels"]
    boxes: Float[Array, "batch most 4"]
    labels: Int[Array, "batch most"]
    crowd: Bool[Array, "batch most"]


def random_places(
    given: Boxed,
    extents: Float[Array, "batch 2"],
    keys: Key[Array, " batch"],
    jitter: Jitter,
    least: float = 0.3,
    fill: Number = 114,
    room: int = 0,
) -> Boxed:
    """Scales, shifts and mirrors each picture on its canvas, or makes a mosaic of it and the three
    before it in the global batch (see `random_tiles`); boxes that keep less than `least` of their
    area are left out.

    extents: width and height of the pictures on their canvases.
    room: boxes of a canvas, the largest; 0: as many as there were, twice as many with mosaics.
    """
    count = _TILES if jitter.mosaic else 1
    images, boxes, labels, crowd, sizes = _with_before((*given, extents), count)
    canvas = images.shape[2], images.shape[3]
    tiles = random_tiles(keys, sizes, canvas, jitter)
    # Colours are changed in several passes, each of which would look the pixels up again.
    pixels = materialize_on_cpu(placed_pixels(images, sizes, tiles, fill))
    boxes, visible = placed_boxes(boxes, tiles, canvas, least)
    labels = jnp.where(visible, labels, -1)
    room = room or (2 if count > 1 else 1) * given.boxes.shape[1]
    return Boxed(pixels, *_together(boxes, labels, crowd, room))


def _with_before(columns: tuple[Array, ...], count: int) -> list[Array]:
    """Stacks each example with those before it in the global batch, [batch, count, ...]."""
    # The rotation of several devices adds numbers, which bools are not.
    values = [c.astype(jnp.uint8) if c.dtype == bool else c for c in columns]
    taken = [values]
    for _ in range(count - 1):
        taken.append([across.rotate(value) for value in taken[-1]])
    stacked = [jnp.stack(parts, axis=1) for parts in zip(*taken, strict=True)]
    return [value.astype(c.dtype) for value, c in zip(stacked, columns, strict=True)]


def _together(
    boxes: Float[Array, "batch tile most 4"],
    labels: Int[Array, "batch tile most"],
    crowd: Bool[Array, "batch tile most"],
    room: int,
) -> tuple[Array, Array, Array]:
    """Joins the boxes of the pictures that lie on one canvas."""
    boxes, labels, crowd = (
        column.reshape(len(column), -1, *column.shape[3:]) for column in (boxes, labels, crowd)
    )
    return largest(boxes, labels, crowd, room)


def largest(
    boxes: Float[Array, "batch most 4"],
    labels: Int[Array, "batch most"],
    crowd: Bool[Array, "batch most"],
    room: int,
) -> tuple[Float[Array, "batch {room} 4"], Int[Array, "batch {room}"], Bool[Array, "batch {room}"]]:
    """Keeps the largest boxes of each picture, in the order of their areas."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    missing = room - labels.shape[1]
    if missing > 0:
        pad = (0, 0), (0, missing)
        boxes = jnp.pad(boxes, (*pad, (0, 0)))
        labels = jnp.pad(labels, pad, constant_values=-1)
        area, crowd = jnp.pad(area, pad), jnp.pad(crowd, pad)
    _, rows = jax.lax.top_k(jnp.where(labels >= 0, area, -1.0), room)
    labels, crowd = (jnp.take_along_axis(column, rows, axis=1) for column in (labels, crowd))
    boxes = jnp.take_along_axis(boxes, rows[..., None], axis=1)
    there = labels >= 0
    return jnp.where(there[..., None], boxes, 0), labels, crowd & there


def mixed_pictures(
    given: Boxed, keys: Key[Array, " batch"], probability: Number = 0.5, room: int = 0
) -> Boxed:
    """Averages, with a probability, each picture and the one before it in the global batch, and
    gives it the boxes of both (mixup as in YOLOX; Ge et al. 2021, section 2.2).

    room: boxes of a picture, the largest; 0: as many as there were.
    """
    images, boxes, labels, crowd = _with_before(given, 2)
    chosen = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    wide = images.astype(jnp.uint16)
    average = ((wide[:, 0] + wide[:, 1] + 1) // 2).astype(images.dtype)
    pixels = jnp.where(chosen[:, None, None, None], average, images[:, 0])
    labels = labels.at[:, 1].set(jnp.where(chosen[:, None], labels[:, 1], -1))
    return Boxed(pixels, *_together(boxes, labels, crowd, room or given.boxes.shape[1]))


def erased_pictures(
    given: Boxed,
    keys: Key[Array, " batch"],
    probability: Number = 0.5,
    least: float = 0.3,
    area: tuple[float, float] = (0.02, 0.2),
    fill: Number = 114,
) -> Boxed:
    """Fills, with a probability, a rectangle of each picture (see `random_erasing`); boxes of which
    it leaves less than the share `least` are left out."""
    height, width = given.images.shape[1:3]
    erased = random_boxes(keys, height, width, probability, area)
    pixels = jnp.where(inside(erased, height, width)[..., None], fill, given.images)
    corner, size = erased[:, None, 1::-1], erased[:, None, :1:-1]  # x, y and width, height
    low = jnp.maximum(given.boxes[..., :2], corner)
    high = jnp.minimum(given.boxes[..., 2:], corner + size)
    covered = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    whole = jnp.prod(given.boxes[..., 2:] - given.boxes[..., :2], axis=-1)
    there = (given.labels >= 0) & (whole - covered >= least * whole)
    return Boxed(
        pixels.astype(given.images.dtype),
        jnp.where(there[..., None], given.boxes, 0),
        jnp.where(there, given.labels, -1),
        given.crowd & there,
    )
