"""Classification: cross-entropy over any module that maps a batch to logits."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Int

from jaxmodels import metrics
from jaxmodels.metrics import CalibrationBins
from jaxmodels.objectives.descent import descend, initial_state, learned_of
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.ops import softmax_cross_entropy
from jaxmodels.protocol import Mean, Objective, mean_over


class ClassifierSums(NamedTuple):
    """What `evaluate` sums over examples."""

    loss: Mean  # nats
    top5: Mean
    confusion: Int[Array, "label prediction"]
    calibration: CalibrationBins


def classifier(
    model: nn.Module,
    classes: int,
    optimizer: OptimizerConfig,
    *,
    steps: int,
    label_smoothing: float = 0.0,
    dropout: float = 0.0,
    ema: float = 0.0,
    accumulate: int = 1,
    input_name: str = "image",
) -> Objective:
    """The objective of batches {input_name: ..., "label": Int[batch]}; in training with "target",
    Float[batch classes], too, where that is what is learned (mixed examples).

    model: called as model(x, train=, dropout_rate=) -> logits [batch, classes].
    The numbers enter the state as hyperparameters (see `hyperparameters`); here they only say which
    terms exist. With `ema`, evaluation and prediction use the average of the parameters *and* of
    the running batch statistics, both averaged step by step at the same rate.

    predict: "logits", and "features", what the last linear layer sees.
    """

    def init(key, spec, hyperparameters):
        example = jnp.zeros((1, *spec[input_name].shape[1:]), spec[input_name].dtype)
        variables = dict(model.init(key, example, train=False))
        learned = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
        return initial_state(optimizer, learned, hyperparameters, bool(ema))

    def step(state, batch, key):
        hyperparameters = state["hyperparameters"]

        def loss(params, batch_stats, batch, key):
            logits, changed = model.apply(
                {"params": params, "batch_stats": batch_stats},
                batch[input_name],
                train=True,
                dropout_rate=hyperparameters["dropout"] if dropout else None,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            smoothing = hyperparameters["label_smoothing"] if label_smoothing else 0.0
            target = batch.get("target", batch["label"])
            losses = softmax_cross_entropy(logits, target, smoothing)
            hits = jnp.argmax(logits, axis=-1) == batch["label"]
            sums = {"loss": mean_over(losses), "accuracy": mean_over(hits)}
            return jnp.mean(losses), (changed.get("batch_stats", {}), sums)

        gradients, batch_stats, sums = gradients_of(
            loss, state["params"], state["batch_stats"], batch, key, accumulate
        )
        state = descend(optimizer, steps, state, gradients, batch_stats=batch_stats)
        return state, sums

    def logits_of(state, batch):
        variables = learned_of(state, "batch_stats")
        return model.apply(variables, batch[input_name], train=False)

    def evaluate(state, batch, key):
        logits, labels, valid = logits_of(state, batch), batch["label"], batch["valid"]
        return ClassifierSums(
            loss=mean_over(softmax_cross_entropy(logits, labels), valid),
            top5=metrics.top_k_hits(logits, labels, 5, valid),
            confusion=metrics.confusion_counts(labels, jnp.argmax(logits, -1), classes, valid),
            calibration=metrics.calibration_bins(logits, labels, 15, valid),
        )

    def predict(state, batch, key):
        inputs = []

        def note(call, args, kwargs, context):
            if isinstance(context.module, nn.Dense):
                inputs.append(args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            logits = logits_of(state, batch)
        return {"logits": logits, "features": inputs[-1].astype(jnp.float32)}

    return Objective(init, step, evaluate, summarize, predict)


def hyperparameters(
    optimizer: OptimizerConfig,
    label_smoothing: float = 0.0,
    dropout: float = 0.0,
    ema: float = 0.0,
) -> dict[str, float]:
    """The numbers of a classifier that are traced in its state."""
    return {
        **optimizer.hyperparameters(),
        "label_smoothing": label_smoothing,
        "dropout": dropout,
        "ema": ema,
    }


def summarize(sums: ClassifierSums | dict[str, Mean]) -> dict[str, float]:
    """loss (nats; in training the smoothed one that is minimised) and accuracy; of an evaluation
    also top5, macro precision, recall and f1, and ece (15 bins)."""
    if isinstance(sums, dict):
        return {name: sums[name].value() for name in ("loss", "accuracy")}
    scores = metrics.classification_scores(sums.confusion)
    return {
        "loss": sums.loss.value(),
        "accuracy": scores.accuracy,
        "top5": sums.top5.value(),
        "precision": scores.macro.precision,
        "recall": scores.macro.recall,
        "f1": scores.macro.f1,
        "ece": metrics.expected_calibration_error(sums.calibration),
    }
