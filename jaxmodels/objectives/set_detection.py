"""The loss of DETR: each object is found by one query, the one that an assignment gives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from jaxmodels import across
from jaxmodels.objectives.dense_targets import Objects
from jaxmodels.objectives.detection import LEAST, Detection, PictureLosses, means_of, objects_in
from jaxmodels.objectives.set_matching import SetWeights, box_losses, matched, surest
from jaxmodels.ops.boxes import Detections
from jaxmodels.protocol import Batch, Mean, State

_SHARE = "class_share"  # the column that objects per weight of classes go in, equal for all


@dataclass(frozen=True)
class SetDetection(Detection):
    """Cross-entropy of each query's class, L1 distance and generalized IoU of the matched boxes,
    after every layer (Carion et al. 2020, sections 3.1 and A.2).

    The loss of boxes is divided by the number of objects, at least 1, that of classes by the sum of
    their weights, as published: both of the global batch.

    model: gives logits [layers, batch, queries, classes + 1], boxes [layers, batch, queries, 4] as
      centre and size in shares of the picture, and sides [2], as `models.detr.SetOutputs`.
    no_object: weight of queries without an object in the loss of classes.
    weights: of the assignment and of the losses of boxes.
    """

    no_object: float = 0.1
    weights: SetWeights = SetWeights()

    def extended(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        """Adds the objects of the global batch, at least 1, by which its losses are divided, per
        weight of its queries' classes."""
        count = jnp.sum(objects_in(batch).exist, axis=-1)
        objects, weights = across.total((jnp.sum(count), jnp.sum(self._class_weights(count))))
        # All weights are 0 only where there is neither an object nor a `no_object`.
        share = jnp.maximum(objects, LEAST) / jnp.where(weights > 0, weights, 1)
        return {**batch, _SHARE: jnp.broadcast_to(share, count.shape)}

    def _class_weights(self, count: Num[Array, " batch"]) -> Float[Array, " batch"]:
        return count + self.no_object * (self.model.queries - count)

    def picture_losses(self, outputs: Any, batch: Batch) -> PictureLosses:
        """Computes the losses of each picture, which all layers have; one with more objects than
        queries is refused."""
        objects = objects_in(batch)
        sides = jnp.concatenate([outputs.sides, outputs.sides])
        objects = objects._replace(boxes=objects.boxes / sides)
        of_layer = jax.vmap(lambda logits, boxes: self._layer_losses(logits, boxes, objects))
        class_loss, box_loss = of_layer(outputs.logits, outputs.boxes)
        class_loss, box_loss = jnp.sum(class_loss, axis=0), jnp.sum(box_loss, axis=0)
        class_loss *= batch.get(_SHARE, 1.0)
        count = jnp.sum(objects.exist, axis=-1).astype(jnp.float32)
        return PictureLosses(class_loss + box_loss, class_loss, box_loss, count)

    def _layer_losses(
        self, logits: Array, boxes: Array, objects: Objects
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        """Computes the sums of both losses of each picture."""
        likely = jax.nn.softmax(logits)
        queries = matched(likely, boxes, objects, self.weights)
        batch, count = logits.shape[:2]
        # A query that nothing is matched to keeps the outcome of no object.
        places = jnp.where(objects.exist, queries, count)
        labels = jnp.full((batch, count + 1), self.classes)
        labels = jax.vmap(lambda row, at, label: row.at[at].set(label))(
            labels, places, objects.labels
        )[:, :count]
        surprise = -jax.nn.log_softmax(logits)
        surprise = jnp.take_along_axis(surprise, labels[..., None], axis=-1)[..., 0]
        weights = jnp.where(labels == self.classes, self.no_object, 1.0)
        class_loss = jnp.sum(weights * surprise, axis=-1)
        found = jnp.take_along_axis(boxes, jnp.maximum(queries, 0)[..., None], axis=1)
        each = box_losses(found, objects.boxes, self.weights)
        return class_loss, jnp.sum(jnp.where(objects.exist, each, 0), axis=-1)

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums both losses over the valid pictures of a batch."""
        losses = self.picture_losses(self.outputs(state, batch), batch)
        valid, weights = batch["valid"], self._class_weights(losses.count)

        def total(column):
            return jnp.sum(jnp.where(valid, column, 0))

        return {
            "class_loss": Mean(total(losses.class_loss), total(weights)),
            "box_loss": Mean(total(losses.box_loss), total(losses.count)),
        }

    @staticmethod
    def summarize(sums: Mapping[str, Mean]) -> dict[str, float]:
        """Computes the losses of an evaluation or of training steps."""
        found = means_of(sums, least=0)
        return {"loss": found["class_loss"] + found["box_loss"], **found}

    def detections(self, outputs: Any) -> Detections:
        """Chooses the surest queries, each with its likeliest class."""
        likely = jax.nn.softmax(outputs.logits[-1])[..., : self.classes]
        return surest(likely, outputs.boxes[-1], outputs.sides, self.choice)
