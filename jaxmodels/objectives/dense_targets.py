"""Which places of a dense detector have to find which objects, and how well."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.ops.boxes import area, inside, iou, pairwise_iou

_TINY = 1e-9


class Objects(NamedTuple):
    """The objects of a batch of pictures, padded.

    exist: false for padding and for crowds. crowds: boxes around several objects, in which nothing
    is right or wrong.
    """

    boxes: Float[Array, "batch most 4"]
    labels: Int[Array, "batch most"]
    exist: Bool[Array, "batch most"]
    crowds: Bool[Array, "batch most"]


class Targets(NamedTuple):
    """What each place has to give.

    labels: of its object; -1: none. quality: the score that it should have for that label.
    weights: of its box in the loss. counted: whether its classes count, which those in crowds do
    not. count: what the picture's losses are divided by, together with those of all others.
    """

    labels: Int[Array, "batch places"]
    boxes: Float[Array, "batch places 4"]
    quality: Float[Array, "batch places"]
    weights: Float[Array, "batch places"]
    counted: Bool[Array, "batch places"]
    count: Float[Array, " batch"]


def objects_of(
    boxes: Float[Array, "batch most 4"],
    labels: Int[Array, "batch most"],
    crowd: Bool[Array, "batch most"] | None,
) -> Objects:
    """Makes the objects of columns of a data set, where label -1 is padding."""
    present = labels >= 0
    crowds = present & crowd if crowd is not None else jnp.zeros_like(present)
    return Objects(boxes, jnp.maximum(labels, 0), present & ~crowds, crowds)


def aligned_targets(
    logits: Float[Array, "batch places classes"],
    boxes: Float[Array, "batch places 4"],
    points: Float[Array, "places 2"],
    strides: Float[Array, " places"],
    objects: Objects,
    *,
    most: int = 10,
    score_power: float = 0.5,
    overlap_power: float = 6.0,
) -> Targets:
    """Assigns each object to the `most` places in it that are best already (task-aligned learning,
    Feng et al. 2021, section 3.3): the measure is score^score_power * overlap^overlap_power.

    A place in several objects finds the one that its box overlaps most. The quality of an object's
    best place is the object's best overlap; the quality of its other places is smaller, in
    proportion to their measure.
    """
    scores = jax.nn.sigmoid(logits).swapaxes(1, 2)
    scores = jnp.take_along_axis(scores, objects.labels[:, :, None], axis=1)
    overlap = pairwise_iou(objects.boxes, boxes)
    near = jax.vmap(lambda boxes: inside(points, boxes))(objects.boxes)
    # A small box may have no place in it.
    near |= _within(points, strides, objects.boxes)
    near &= objects.exist[:, :, None]
    measure = jnp.where(near, scores**score_power * overlap**overlap_power, -1)
    least = jax.lax.top_k(measure, min(most, measure.shape[-1]))[0][..., -1:]
    chosen = near & (measure >= least)
    owner = jnp.argmax(jnp.where(chosen, overlap, -1), axis=1)
    chosen &= owner[:, None] == jnp.arange(chosen.shape[1])[:, None]
    measure, overlap = (jnp.where(chosen, value, 0) for value in (measure, overlap))
    best = jnp.max(overlap, axis=-1, keepdims=True) / (
        jnp.max(measure, axis=-1, keepdims=True) + _TINY
    )
    quality = jnp.max(measure * best, axis=1)
    return _targets(objects, points, owner, jnp.any(chosen, axis=1), quality, quality)


def _within(points: Array, strides: Array, boxes: Array) -> Bool[Array, "batch most places"]:
    """Says which points are less than half a stride, in x and in y, from the centres of boxes."""
    centres = (boxes[..., None, :2] + boxes[..., None, 2:]) / 2
    return jnp.all(jnp.abs(points - centres) <= strides[:, None] / 2, axis=-1)


def centre_targets(
    boxes: Float[Array, "batch places 4"],
    points: Float[Array, "places 2"],
    strides: Float[Array, " places"],
    objects: Objects,
    *,
    radius: float = 1.5,
    by_overlap: bool = True,
) -> Targets:
    """Assigns each object to the places within `radius` strides of its centre, on the level of its
    size (Tian et al. 2019, with centre sampling). A place of several objects finds the smallest.

    by_overlap: the quality of a place is the overlap of its box with the object (Zhang et al. 2021,
      section 3.1); otherwise it is 1.
    """
    centres = (objects.boxes[..., None, :2] + objects.boxes[..., None, 2:]) / 2
    reach = radius * strides[:, None]
    near = jnp.all(jnp.abs(points - centres) < reach, axis=-1)
    inner = jax.vmap(lambda boxes: inside(points, boxes))(objects.boxes)
    near &= inner | _within(points, strides, objects.boxes)
    low, high = objects.boxes[..., None, :2], objects.boxes[..., None, 2:]
    farthest = jnp.max(jnp.maximum(points - low, high - points), axis=-1)
    # A place finds objects whose farthest edge is 4 to 8 strides away; on the first level also
    # nearer ones, on the last also farther ones.
    first, last = strides == jnp.min(strides), strides == jnp.max(strides)
    near &= (farthest > 4 * strides) | first
    near &= (farthest <= 8 * strides) | last
    near &= objects.exist[:, :, None]
    owner = jnp.argmin(jnp.where(near, area(objects.boxes)[:, :, None], jnp.inf), axis=1)
    found = jnp.any(near, axis=1)
    quality = found.astype(boxes.dtype)
    targets = _targets(objects, points, owner, found, quality, quality)
    if by_overlap:
        targets = targets._replace(quality=jnp.where(found, iou(boxes, targets.boxes), 0))
    return targets


def _targets(
    objects: Objects, points: Array, owner: Array, found: Array, quality: Array, weights: Array
) -> Targets:
    """Collects targets of the places that have found the object `owner`."""
    boxes = jnp.take_along_axis(objects.boxes, owner[..., None], axis=1)
    labels = jnp.where(found, jnp.take_along_axis(objects.labels, owner, axis=1), -1)
    crowds = jax.vmap(lambda boxes: inside(points, boxes))(objects.boxes)
    crowded = jnp.any(crowds & objects.crowds[..., None], axis=1)
    quality, weights = (jnp.where(found, value, 0) for value in (quality, weights))
    return Targets(labels, boxes, quality, weights, found | ~crowded, jnp.sum(weights, axis=-1))
