"""The loss of a DETR that learns from few pictures: of queries that are matched to objects, of
noised objects whose answers are known, and of a dense head in which several places learn each
object."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels import across
from jaxmodels.objectives.dense_detection import CLASS_LOSSES, dense_losses
from jaxmodels.objectives.dense_targets import Objects, aligned_targets
from jaxmodels.objectives.detection import Detection, PictureLosses, objects_in
from jaxmodels.objectives.set_matching import SetWeights, box_losses, matched, surest
from jaxmodels.ops.boxes import Detections, centred, cornered, inside, iou
from jaxmodels.protocol import Batch, Mean, State, example_keys

# Columns of noised objects, [batch, groups, members, ...].
_LABELS, _BOXES = "noised_labels", "noised_boxes"
_NOISE = 2**31 - 3  # is folded into the key of a step; see `preprocessing`


class QueryTargets(NamedTuple):
    """What each query has to give.

    labels: -1: no object. boxes: corners in shares of the picture. counted: whether its scores
    count.
    """

    labels: Int[Array, "batch queries"]
    boxes: Float[Array, "batch queries 4"]
    counted: Bool[Array, "batch queries"]


@dataclass(frozen=True)
class DenoisedDetection(Detection):
    """The losses of scores, which are trained to be the overlap of the box, and of boxes (L1
    distance and generalized IoU), after every layer. Queries get objects by assignment (Carion et
    al. 2020). Noised objects near a true one have to find it, those farther off have to be rejected
    (Li et al. 2022; Zhang et al. 2023, section 3.3). The dense head learns as that of
    `DenseDetection` does.

    All losses are divided by the number of objects of the global batch, those of noised objects
    also by the number of groups. The metrics `class_loss` and `box_loss` are those of the queries,
    over all layers.

    model: gives `models.dn_detr.RefinedOutputs`; called with an image, or with labels and boxes of
      noised objects too.
    weights: of the assignment and of the losses of boxes.
    class_loss: cross_entropy or varifocal.
    dense_weight: of the loss of the dense head.
    positives: places of the dense head that learn an object.
    groups, label_noise, box_noise: of `noised`.
    """

    weights: SetWeights = SetWeights(label=2.0)
    class_loss: str = "cross_entropy"
    dense_weight: float = 1.0
    positives: int = 5
    groups: int = 3
    label_noise: float = 0.2
    box_noise: float = 1.0

    def extended(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        """Adds noised objects, which are the same however the batch is divided."""
        if not self.groups:
            return batch
        positions = batch.get("position", across.positions(len(batch["image"])))
        keys = example_keys(jax.random.fold_in(key, _NOISE), positions)
        objects = _in_shares(objects_in(batch), sides_of(batch["image"]))
        noise = self.groups, self.classes, self.label_noise, self.box_noise
        labels, boxes = noised(objects, keys, *noise)
        return {**batch, _LABELS: labels, _BOXES: boxes}

    def inputs(self, batch: Batch) -> tuple[Array, ...]:
        """Returns what the model is given of a batch; predictions have no noised objects."""
        return batch["image"], *(batch[name] for name in (_LABELS, _BOXES) if name in batch)

    def picture_losses(self, outputs: Any, batch: Batch) -> PictureLosses:
        """Computes the losses of each picture; one with more objects than queries is refused."""
        objects = objects_in(batch)
        shares = _in_shares(objects, outputs.sides)

        def of_queries(logits, boxes):
            return self.query_losses(logits, boxes, self.query_targets(logits, boxes, shares))

        def of_noised(logits, boxes):
            return self.query_losses(logits, boxes, targets_of_noised(shares, self.groups))

        class_loss, box_loss = _over_layers(of_queries, outputs.logits, outputs.boxes)
        loss = class_loss + box_loss
        if outputs.noised_logits.shape[2]:
            both = _over_layers(of_noised, outputs.noised_logits, outputs.noised_boxes)
            loss += sum(both) / self.groups
        logits, boxes, points, strides = outputs.dense
        most = self.positives
        targets = aligned_targets(logits, boxes, points, strides, objects, most=most)
        classes, misses = dense_losses(outputs.dense, targets, self.class_loss, "giou")
        loss += self.dense_weight * (classes + self.weights.overlap * misses)
        count = jnp.sum(objects.exist, axis=-1).astype(jnp.float32)
        return PictureLosses(loss, class_loss, box_loss, count)

    def query_targets(
        self,
        logits: Float[Array, "batch queries classes"],
        boxes: Float[Array, "batch queries 4"],
        objects: Objects,
    ) -> QueryTargets:
        """Gives each object to a query of its own, by the cheapest assignment."""
        queries = matched(jax.nn.sigmoid(logits), boxes, objects, self.weights)
        batch, count = logits.shape[:2]
        at = jnp.where(objects.exist, queries, count)
        nobody = jnp.full((batch, count + 1), -1)
        rows = jnp.arange(at.shape[1])
        owner = jax.vmap(lambda owner, at: owner.at[at].set(rows))(nobody, at)[:, :count]
        found, owner = owner >= 0, jnp.maximum(owner, 0)
        labels = jnp.where(found, jnp.take_along_axis(objects.labels, owner, axis=1), -1)
        truth = jnp.take_along_axis(objects.boxes, owner[..., None], axis=1)
        crowded = jnp.any(
            jax.vmap(inside)(boxes[..., :2], objects.boxes) & objects.crowds[..., None], axis=1
        )
        return QueryTargets(labels, truth, found | ~crowded)

    def query_losses(
        self,
        logits: Float[Array, "batch queries classes"],
        boxes: Float[Array, "batch queries 4"],
        targets: QueryTargets,
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        """Sums the losses of scores and of boxes of each picture."""
        overlap = jax.lax.stop_gradient(iou(cornered(boxes), targets.boxes))
        hot = jax.nn.one_hot(targets.labels, self.classes) * overlap[..., None]
        scores = jnp.sum(CLASS_LOSSES[self.class_loss](logits, hot), axis=-1)
        far = box_losses(boxes, targets.boxes, self.weights)
        return (
            jnp.sum(jnp.where(targets.counted, scores, 0), axis=-1),
            jnp.sum(jnp.where(targets.labels >= 0, far, 0), axis=-1),
        )

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums the losses over the valid pictures of a batch, those of noised objects too."""
        return super().evaluate(state, self.extended(batch, key), key)

    def detections(self, outputs: Any) -> Detections:
        """Chooses the surest queries, each with its likeliest class."""
        likely = jax.nn.sigmoid(outputs.logits[-1])
        return surest(likely, outputs.boxes[-1], outputs.sides, self.choice)


def noised(
    objects: Objects,
    keys: Key[Array, " batch"],
    groups: int,
    classes: int,
    label_noise: float,
    box_noise: float,
) -> tuple[Int[Array, "batch groups members"], Float[Array, "batch groups members 4"]]:
    """Makes groups of noised objects: labels, -1 for padding, and boxes by centre and size in
    shares of the picture. A group has all objects near where they are, and then all farther off.

    keys: of the pictures. An object's noise does not depend on how many others there are.
    label_noise: share of labels that are drawn at random.
    box_noise: corners move by up to this many halves of the sides, by once to twice that where an
      object is to be rejected; corners that have passed each other are swapped.
    """
    near_or_far = jnp.arange(2.0)[:, None]

    def of_object(key, number, box, label, exists):
        drawn, other, sign, size = jax.random.split(jax.random.fold_in(key, number), 4)
        shape = groups, 2
        is_drawn = jax.random.uniform(drawn, shape) < label_noise
        label = jnp.where(is_drawn, jax.random.randint(other, shape, 0, classes), label)
        signs = jax.random.rademacher(sign, (*shape, 4))
        share = jax.random.uniform(size, (*shape, 4)) + near_or_far
        half = jnp.tile((box[2:] - box[:2]) / 2, 2)
        moved = jnp.clip(box + box_noise * share * signs * half, 0, 1)
        corners = (
            jnp.minimum(moved[..., :2], moved[..., 2:]),
            jnp.maximum(moved[..., :2], moved[..., 2:]),
        )
        return jnp.where(exists, label, -1), centred(jnp.concatenate(corners, axis=-1))

    def of_picture(key, boxes, labels, exist):
        numbers = jnp.arange(len(labels))
        of_all = jax.vmap(of_object, in_axes=(None, 0, 0, 0, 0), out_axes=2)
        labels, boxes = of_all(key, numbers, boxes, labels, exist)
        return labels.reshape(groups, -1), boxes.reshape(groups, -1, 4)

    return jax.vmap(of_picture)(keys, objects.boxes, objects.labels, objects.exist)


def targets_of_noised(objects: Objects, groups: int) -> QueryTargets:
    """Returns what `groups` of noised objects have to give: objects, then nothing."""
    found = jnp.where(objects.exist, objects.labels, -1)
    labels = jnp.concatenate([found, jnp.full_like(found, -1)], axis=1)
    return QueryTargets(
        jnp.tile(labels, (1, groups)),
        jnp.tile(objects.boxes, (1, 2 * groups, 1)),
        jnp.tile(objects.exist, (1, 2 * groups)),
    )


def sides_of(image: Float[Array, "batch height width channels"]) -> Float[Array, " 2"]:
    """Returns width and height of pictures."""
    return jnp.array([image.shape[2], image.shape[1]], jnp.float32)


def _in_shares(objects: Objects, sides: Float[Array, " 2"]) -> Objects:
    """Returns objects whose boxes are shares of the sides of the picture."""
    return objects._replace(boxes=objects.boxes / jnp.concatenate([sides, sides]))


def _over_layers(losses, logits: Array, boxes: Array) -> tuple[Array, Array]:
    """Sums both losses of pictures over the layers."""
    of_classes, of_boxes = jax.vmap(losses)(logits, boxes)
    return jnp.sum(of_classes, axis=0), jnp.sum(of_boxes, axis=0)
