"""The loss of a dense detector, and its detections."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmodels.objectives.dense_targets import Objects, Targets, aligned_targets, centre_targets
from jaxmodels.objectives.detection import Detection, PictureLosses, objects_in
from jaxmodels.ops.boxes import Detections, best_detections, distance_iou, generalized_iou
from jaxmodels.ops.focal import binary_cross_entropy, sigmoid_focal, varifocal
from jaxmodels.protocol import Batch

CLASS_LOSSES = {
    "cross_entropy": binary_cross_entropy,
    "varifocal": varifocal,
    "focal": sigmoid_focal,
}
BOX_LOSSES = {"giou": generalized_iou, "diou": distance_iou}


@dataclass(frozen=True)
class DenseDetection(Detection):
    """Classes by a focal loss at all places, boxes by 1 - overlap at those that have an object.

    model: gives logits [batch, places, classes], boxes [batch, places, 4], points [places, 2] and
      strides [places], as `models.fcos.DenseOutputs`.
    assignment: aligned or centre (see `dense_targets`).
    class_loss: cross_entropy or varifocal, with the overlap as target, or focal, with 1.
    box_loss: giou or diou.
    """

    assignment: str = "aligned"
    class_loss: str = "cross_entropy"
    box_loss: str = "giou"
    box_weight: float = 2.0

    def picture_losses(self, outputs: Any, batch: Batch) -> PictureLosses:
        """Computes the losses of each picture; a positive counts by its quality where places are
        assigned by it."""
        targets = self.targets(outputs, objects_in(batch))
        class_loss, box_loss = dense_losses(outputs, targets, self.class_loss, self.box_loss)
        loss = class_loss + self.box_weight * box_loss
        return PictureLosses(loss, class_loss, box_loss, targets.count)

    def targets(self, outputs: Any, objects: Objects) -> Targets:
        """Assigns objects to places; what they count is a constant of the gradient, too."""
        logits, boxes, points, strides = outputs
        if self.assignment == "aligned":
            targets = aligned_targets(logits, boxes, points, strides, objects)
        else:
            overlap = self.class_loss != "focal"
            targets = centre_targets(boxes, points, strides, objects, by_overlap=overlap)
        return jax.lax.stop_gradient(targets)

    def detections(self, outputs: Any) -> Detections:
        """Chooses by non-maximum suppression in each class."""
        scores = jax.nn.sigmoid(outputs.logits)
        choice = self.choice
        return best_detections(
            outputs.boxes,
            scores,
            most=choice.most,
            candidates=choice.candidates,
            threshold=choice.threshold,
            sigma=choice.sigma,
            least=choice.least,
        )


def dense_losses(
    outputs: Any, targets: Targets, class_loss: str, box_loss: str
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Sums the losses of classes and of boxes of each picture, by the names of both."""
    targets = jax.lax.stop_gradient(targets)
    hot = jax.nn.one_hot(targets.labels, outputs.logits.shape[-1])
    if class_loss != "focal":
        hot *= targets.quality[..., None]
    each = CLASS_LOSSES[class_loss](outputs.logits, hot)
    of_classes = jnp.sum(jnp.where(targets.counted[..., None], each, 0), axis=(1, 2))
    overlap = BOX_LOSSES[box_loss](outputs.boxes, targets.boxes)
    # What has no object has no gradient, whatever its box is.
    misses = jnp.where(targets.weights > 0, 1 - overlap, 0)
    return of_classes, jnp.sum(targets.weights * misses, axis=-1)
