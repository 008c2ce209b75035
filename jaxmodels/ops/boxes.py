"""Boxes (x0, y0, x1, y1): how much they overlap, and which of many detections remain."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Boxes = Float[Array, "*boxes 4"]
Either = Float[Array, "*#boxes 4"]  # shapes that broadcast
Overlap = Float[Array, "*overlaps"]

# Added where a box may have no area, as torchvision's losses do.
_TINY = 1e-7


class Detections(NamedTuple):
    """What was found in each picture, the surest first; label -1 where there is no more."""

    boxes: Float[Array, "*batch most 4"]
    scores: Float[Array, "*batch most"]
    labels: Int[Array, "*batch most"]


def area(boxes: Boxes) -> Float[Array, "*boxes"]:
    """Computes areas; a reversed box has none."""
    return _area(boxes[..., :2], boxes[..., 2:])


def _area(low: Array, high: Array) -> Array:
    sides = jnp.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


class _Parts(NamedTuple):
    """Areas of two boxes' intersection and union, and their hull, the smallest box around both."""

    intersection: Array
    union: Array
    hull_low: Array
    hull_high: Array


def _parts(a: Array, b: Array) -> _Parts:
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = _area(low, high)
    hull = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    return _Parts(intersection, area(a) + area(b) - intersection, *hull)


def iou(a: Either, b: Either) -> Overlap:
    """Computes intersection over union, box by box; the shapes may broadcast."""
    parts = _parts(a, b)
    return parts.intersection / (parts.union + _TINY)


def pairwise_iou(
    a: Float[Array, "*batch n 4"], b: Float[Array, "*batch m 4"]
) -> Float[Array, "*batch n m"]:
    """Computes the intersection over union of each of n boxes with each of m."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def generalized_iou(a: Either, b: Either) -> Overlap:
    """Computes the generalized IoU in -1..1 (Rezatofighi et al. 2019, algorithm 1): less the share
    of the hull that is in neither box."""
    parts = _parts(a, b)
    hull = _area(parts.hull_low, parts.hull_high)
    return parts.intersection / (parts.union + _TINY) - (hull - parts.union) / (hull + _TINY)


def distance_iou(a: Either, b: Either) -> Overlap:
    """Computes the distance IoU in -1..1 (Zheng et al. 2020, equation 7): less the squared distance
    of the centres, by the squared diagonal of the hull."""
    parts = _parts(a, b)
    diagonal = jnp.sum(jnp.square(parts.hull_high - parts.hull_low), axis=-1)
    shift = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = jnp.sum(jnp.square(shift), axis=-1)
    return parts.intersection / (parts.union + _TINY) - distance / (diagonal + _TINY)


def centred(boxes: Boxes) -> Boxes:
    """Converts corners to (centre x, centre y, width, height)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def cornered(boxes: Boxes) -> Boxes:
    """Inverts `centred`."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def best_detections(
    boxes: Float[Array, "batch places 4"],
    scores: Float[Array, "batch places classes"],
    *,
    most: int,
    candidates: int,
    threshold: float,
    sigma: float = 0.0,
    least: float = 0.0,
) -> Detections:
    """Chooses the detections of each picture from its best pairs of place and class.

    most: how many are kept. candidates: how many pairs compete.
    threshold, sigma, least: of `suppressed`; classes do not suppress each other.
    """
    count = scores.shape[-1]
    flat = scores.reshape(scores.shape[0], -1)
    best, rows = jax.lax.top_k(flat, min(candidates, flat.shape[-1]))
    chosen = jnp.take_along_axis(boxes, (rows // count)[..., None], axis=1)
    choose = partial(suppressed, most=most, threshold=threshold, sigma=sigma, least=least)
    return jax.vmap(choose)(chosen, best, rows % count)


def suppressed(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"],
    *,
    most: int,
    threshold: float,
    sigma: float = 0.0,
    least: float = 0.0,
) -> Detections:
    """Picks `most` detections, one by one the surest that is left; each pick suppresses those of
    its class that overlap with it (non-maximum suppression).

    threshold: an overlap (IoU) above it removes a detection; not used where sigma is above 0.
    sigma: if above 0, an overlap multiplies the score by exp(-overlap² / sigma) instead (soft-NMS,
      Bodla et al. 2017, equation 3), and removes none.
    least: only scores above it are picked.

    Of equal scores, the first is surer. A label of -1 says that there is no more.
    """
    start = Detections(
        jnp.zeros((most, 4), boxes.dtype), jnp.zeros(most, scores.dtype), jnp.full(most, -1)
    )
    places = jnp.arange(len(scores))

    def pick(number, carried):
        left, picked = carried
        row = jnp.argmax(left)
        found = left[row] > least
        new = Detections(boxes[row], left[row], labels[row])
        picked = Detections(
            *(
                old.at[number].set(jnp.where(found, value, old[number]))
                for old, value in zip(picked, new, strict=True)
            )
        )
        overlap = jnp.where(labels == labels[row], iou(boxes, boxes[row]), 0)
        if sigma > 0:
            # What is picked already stays so: -inf times a weight that is 0 would be no number.
            weighted = left * jnp.exp(-jnp.square(overlap) / sigma)
            left = jnp.where(jnp.isneginf(left), left, weighted)
        else:
            left = jnp.where(overlap > threshold, -jnp.inf, left)
        return jnp.where(places == row, -jnp.inf, left), picked

    return jax.lax.fori_loop(0, most, pick, (scores, start))[1]


def inside(
    points: Float[Array, "places 2"], boxes: Float[Array, "*batch n 4"]
) -> Bool[Array, "*batch n places"]:
    """Says which points (x, y) lie in which boxes."""
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    return jnp.all((points > low) & (points < high), axis=-1)
