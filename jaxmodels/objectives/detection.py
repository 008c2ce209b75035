"""What detectors share: state, step and evaluation of a loss that is divided by what all pictures
of a batch have together, and predictions of a fixed number of detections."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from jaxmodels.objectives.dense_targets import Objects, objects_of
from jaxmodels.objectives.descent import (
    descend,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.ops.boxes import Detections
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Losses,
    Mean,
    PyTree,
    Score,
    State,
)

SCORES = {
    "loss": Score("lower", "", "Class loss plus weighted box loss, by the number of positives."),
    "class_loss": Score("lower", "", "Loss of the classes of all places, by positives."),
    "box_loss": Score("lower", "", "Loss of the boxes of positives, unweighted, by positives."),
}

# By what losses are divided where there are fewer positives, as in TOOD and torchvision: else one
# poor positive would multiply the losses of all places that are none.
LEAST = 1.0


class PictureLosses(NamedTuple):
    """Totals of each picture, and the number of its positives, by which the sums of a batch are
    divided, or by `LEAST` if all have less; a positive may count for less than one."""

    loss: Float[Array, " batch"]
    class_loss: Float[Array, " batch"]
    box_loss: Float[Array, " batch"]
    count: Float[Array, " batch"]


@dataclass(frozen=True)
class Choice:
    """How detections are chosen from all that a model gives.

    most: detections of a picture. candidates: how many compete for that.
    threshold, sigma, least: of `ops.boxes.suppressed`.
    """

    most: int = 100
    candidates: int = 500
    threshold: float = 0.6
    sigma: float = 0.0
    least: float = 0.001


@dataclass(frozen=True)
class Detection(ABC):
    """The objective of batches {"image": ..., "boxes": [batch, most, 4], "labels": [batch, most]},
    boxes in pixels of the image and labels -1 where there is no object. They may have "crowd"; and
    "size" (height, width) and "scale" of a picture that lies on a canvas.

    model: called as model(image, train=bool), or with all that `inputs` gives.
    steps: the length of the run, over which the learning rate may be laid out.
    ema: enters the state as a hyperparameter. With a decay above zero, evaluation and prediction
      use averages of the parameters and of the batch statistics.
    accumulate: the number of parts of a batch, which are computed one after another.
    """

    model: nn.Module
    classes: int
    optimizer: OptimizerConfig
    steps: int
    choice: Choice = Choice()
    ema: float = 0.0
    accumulate: int = 1

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(SCORES)

    @abstractmethod
    def picture_losses(self, outputs: Any, batch: Batch) -> PictureLosses:
        """Computes the losses of each picture from the model's outputs."""

    @abstractmethod
    def detections(self, outputs: Any) -> Detections:
        """Chooses the detections of each picture."""

    def extended(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        """Extends a whole training batch by what the losses of its pictures need to know of it."""
        return batch

    def inputs(self, batch: Batch) -> tuple[Array, ...]:
        """Returns what the model is given of a batch."""
        return (batch["image"],)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {**self.optimizer.hyperparameters(), "ema": self.ema}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        image = spec["image"]
        example = jnp.zeros((1, *image.shape[1:]), image.dtype)
        variables = self.model.init(key, example, train=False)
        learned = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters and batch statistics that evaluation uses."""
        return learned_of(state, "batch_stats")

    with_learned = staticmethod(with_learned)

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent on the loss of a batch."""
        gradients, batch_stats, sums = gradients_of(
            of_trained(self.loss, state),
            state["params"],
            state["batch_stats"],
            self.extended(batch, key),
            key,
            self.accumulate,
            least=LEAST,
        )
        state = descend(self.optimizer, self.steps, state, gradients, batch_stats=batch_stats)
        return state, sums

    def loss(
        self, params: PyTree, batch_stats: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch, the batch statistics after it and its metrics."""
        losses, batch_stats = self.in_training(params, batch_stats, batch, key)
        sums = _sums(losses)
        return sums["loss"], batch_stats, sums

    def in_training(
        self, params: PyTree, batch_stats: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[PictureLosses, PyTree]:
        """Computes the losses of a training batch, and the batch statistics after it."""
        outputs, changed = self.model.apply(
            {"params": params, "batch_stats": batch_stats},
            *self.inputs(batch),
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        losses = self.picture_losses(outputs, batch)
        return losses, changed.get("batch_stats", {})

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each picture's loss, so
        scaled that the mean of all is the loss of the batch."""

        def column(name):
            def of_part(*given):
                losses, batch_stats = self.in_training(*given)
                return getattr(losses, name), batch_stats

            return of_trained(of_part, state)

        batch = self.extended(batch, key)

        def compute(params: PyTree) -> Float[Array, " batch"]:
            total, count = (
                losses_in_parts(
                    column(name), params, state["batch_stats"], batch, key, self.accumulate
                )
                for name in ("loss", "count")
            )
            return total / jnp.maximum(jnp.mean(count), LEAST / len(count))

        return state["params"], compute

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums the losses over the valid pictures of a batch."""
        losses = self.picture_losses(self.outputs(state, batch), batch)
        return _sums(losses, batch["valid"])

    @staticmethod
    def summarize(sums: Mapping[str, Mean]) -> dict[str, float]:
        """Computes the losses of an evaluation or of training steps."""
        return means_of(sums)

    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> Detections:
        """Finds the objects of each picture, in pixels of the image, or where a batch has "scale",
        of the picture as it is stored."""
        found = self.detections(self.outputs(state, batch))
        if "scale" not in batch:
            return found
        sides = batch["size"][:, ::-1].astype(jnp.float32)
        edges = jnp.concatenate([sides, sides], axis=-1)[:, None]
        boxes = found.boxes / batch["scale"][:, None, None]
        return found._replace(boxes=jnp.clip(boxes, 0, edges))

    def outputs(self, state: State, batch: Batch) -> Any:
        """Computes what the model gives in evaluation."""
        variables = learned_of(state, "batch_stats")
        return self.model.apply(variables, *self.inputs(batch), train=False)


def means_of(sums: Mapping[str, Mean], least: float = LEAST) -> dict[str, float]:
    """Computes losses in float64 on the host, divided by at least so much; NaN where there was no
    picture, as all steps were skipped."""
    if not any(mean.total or mean.count for mean in sums.values()):
        return dict.fromkeys(sums, math.nan)
    return {
        name: float(mean.total) / (max(float(mean.count), least) or 1.0)
        for name, mean in sums.items()
    }


def objects_in(batch: Batch) -> Objects:
    """Returns the objects of a batch."""
    return objects_of(batch["boxes"], batch["labels"], batch.get("crowd"))


def _sums(losses: PictureLosses, valid: Bool[Array, " batch"] | None = None) -> dict[str, Mean]:
    """Adds up the losses of pictures."""
    if valid is not None:
        losses = jax.tree.map(lambda column: jnp.where(valid, column, 0), losses)
    *totals, count = (jnp.sum(column) for column in losses)
    names = ("loss", "class_loss", "box_loss")
    return {name: Mean(total, count) for name, total in zip(names, totals, strict=True)}
