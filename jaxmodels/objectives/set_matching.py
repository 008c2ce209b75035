"""What losses of sets share: which query has to find which object, how far its box is from that,
and which queries are detections."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.objectives.dense_targets import Objects
from jaxmodels.objectives.detection import Choice
from jaxmodels.ops.assignment import assign
from jaxmodels.ops.boxes import Detections, centred, cornered, generalized_iou


class SetWeights(NamedTuple):
    """Weights of the assignment and of the losses of boxes (Carion et al. 2020, section 3.1).

    label: of the probability of the label, in the assignment alone. distance, overlap: of L1, of
    centre and size in shares of the picture, and of 1 - generalized IoU.
    """

    label: float = 1.0
    distance: float = 5.0
    overlap: float = 2.0


def matched(
    likely: Float[Array, "batch queries outcomes"],
    boxes: Float[Array, "batch queries 4"],
    objects: Objects,
    weights: SetWeights,
) -> Int[Array, "batch most"]:
    """Gives each object a query of its own, without a gradient; -1 to what does not exist.

    likely: probabilities. boxes: centre and size in shares of the picture, as those of the objects
      are, with corners.
    """
    likely = jnp.take_along_axis(likely.swapaxes(1, 2), objects.labels[..., None], axis=1)
    truth = centred(objects.boxes)
    distance = jnp.sum(jnp.abs(truth[:, :, None] - boxes[:, None]), axis=-1)
    overlap = generalized_iou(objects.boxes[:, :, None], cornered(boxes)[:, None])
    cost = weights.distance * distance - weights.overlap * overlap - weights.label * likely
    return jax.vmap(assign)(jax.lax.stop_gradient(cost), objects.exist)


def box_losses(
    boxes: Float[Array, "*boxes 4"], truth: Float[Array, "*boxes 4"], weights: SetWeights
) -> Float[Array, "*boxes"]:
    """Computes how far boxes, centre and size, are from true ones, with corners."""
    distance = jnp.sum(jnp.abs(boxes - centred(truth)), axis=-1)
    miss = 1 - generalized_iou(cornered(boxes), truth)
    return weights.distance * distance + weights.overlap * miss


def surest(
    likely: Float[Array, "batch queries classes"],
    boxes: Float[Array, "batch queries 4"],
    sides: Float[Array, " 2"],
    choice: Choice,
) -> Detections:
    """Chooses the surest queries, each with its likeliest class.

    boxes: centre and size in shares of the sides (width, height), of which corners are given.
    """
    scores, labels = jnp.max(likely, axis=-1), jnp.argmax(likely, axis=-1)
    best, rows = jax.lax.top_k(scores, min(choice.most, scores.shape[-1]))
    corners = cornered(boxes) * jnp.concatenate([sides, sides])
    corners = jnp.take_along_axis(corners, rows[..., None], axis=1)
    labels = jnp.take_along_axis(labels, rows, axis=1)
    labels = jnp.where(best > choice.least, labels, -1)
    missing = (0, 0), (0, choice.most - best.shape[-1])
    return Detections(
        jnp.pad(corners, (*missing, (0, 0))),
        jnp.pad(best, missing),
        jnp.pad(labels, missing, constant_values=-1),
    )
