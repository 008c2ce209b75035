"""Regression and several labels: losses, gradients and scores beside references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from jaxmodels.errors import InputError
from jaxmodels.models.mlp import MLPConfig
from jaxmodels.objectives.multilabel import MultiLabel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.regression import Regression

OPTIMIZER = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")


def _objective(kind, outputs, **options):
    model = MLPConfig(hidden=(5,), batch_norm=options.pop("batch_norm", False)).create(outputs)
    given = {"outputs": outputs, "optimizer": OPTIMIZER, "steps": 10, "input_name": "x"}
    return kind(model=model, **given, **options)


def _batch(outputs, count=12):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 3)).astype(np.float32)
    if outputs == 1:
        target = generator.normal(size=count).astype(np.float32)
    else:
        target = generator.integers(0, 2, (count, outputs)).astype(np.int32)
    return {"x": jnp.asarray(x), "target": jnp.asarray(target)}


def _started(objective, batch):
    spec = {name: jax.ShapeDtypeStruct(v.shape, v.dtype) for name, v in batch.items()}
    return objective.init(jax.random.key(0), spec, objective.hyperparameters)


def _layers(params, batch):
    """The network written out in float64."""
    first, last = (jax.tree.map(np.float64, params[name]) for name in ("Dense_0", "Dense_1"))
    hidden = np.maximum(np.asarray(batch["x"], np.float64) @ first["kernel"] + first["bias"], 0)
    return hidden, hidden @ last["kernel"] + last["bias"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_of_least_squares_by_hand(accumulate):
    batch = _batch(1)
    objective = _objective(Regression, 1, accumulate=accumulate)
    state = _started(objective, batch)
    hidden, outputs = _layers(state["params"], batch)
    after, sums = jax.jit(objective.step)(state, batch, jax.random.key(1))
    errors = outputs[:, 0] - np.asarray(batch["target"])
    assert objective.summarize(sums)["loss"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    gradient = 2 * hidden.T @ errors[:, None] / len(errors)
    moved = (state["params"]["Dense_1"]["kernel"] - after["params"]["Dense_1"]["kernel"]) / 0.1
    np.testing.assert_allclose(moved, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_of_cross_entropies_by_hand(accumulate):
    batch = _batch(4)
    objective = _objective(MultiLabel, 4, accumulate=accumulate)
    state = _started(objective, batch)
    hidden, outputs = _layers(state["params"], batch)
    after, sums = jax.jit(objective.step)(state, batch, jax.random.key(1))
    probabilities, labels = 1 / (1 + np.exp(-outputs)), np.asarray(batch["target"])
    loss = -np.mean(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities))
    found = objective.summarize(sums)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean((outputs > 0) == labels), rel=1e-6)
    gradient = hidden.T @ (probabilities - labels) / labels.size
    moved = (state["params"]["Dense_1"]["kernel"] - after["params"]["Dense_1"]["kernel"]) / 0.1
    np.testing.assert_allclose(moved, gradient, rtol=1e-3, atol=1e-5)


def test_scores_of_a_regression_are_scikit_learns_in_the_unit_of_the_target():
    batch = _batch(1, 40)
    objective = _objective(Regression, 1, scale=7.0)
    state = _started(objective, batch)
    valid = jnp.arange(40) < 33
    scores = objective.summarize(
        objective.evaluate(state, batch | {"valid": valid}, jax.random.key(0))
    )
    outputs = objective.predict(state, batch, jax.random.key(0))["outputs"][:33, 0]
    true, guess = 7 * np.asarray(batch["target"])[:33] + 3, 7 * np.asarray(outputs) + 3
    assert scores["r2"] == pytest.approx(reference.r2_score(true, guess), abs=1e-5)
    assert scores["mae"] == pytest.approx(reference.mean_absolute_error(true, guess), rel=1e-5)
    rmse = reference.root_mean_squared_error(true, guess)
    assert scores["rmse"] == pytest.approx(rmse, rel=1e-5)
    constant = batch | {"valid": valid, "target": jnp.zeros(40)}
    assert np.isnan(
        objective.summarize(objective.evaluate(state, constant, jax.random.key(0)))["r2"]
    )


def test_scores_of_several_labels_are_scikit_learns():
    batch = _batch(4, 40)
    objective = _objective(MultiLabel, 4)
    state = _started(objective, batch)
    valid = jnp.arange(40) < 33
    scores = objective.summarize(
        objective.evaluate(state, batch | {"valid": valid}, jax.random.key(0))
    )
    outputs = np.asarray(objective.predict(state, batch, jax.random.key(0))["outputs"])[:33]
    true, guess = np.asarray(batch["target"])[:33], outputs > 0
    assert scores["f1"] == pytest.approx(reference.f1_score(true, guess, average="macro"), rel=1e-6)
    assert scores["micro_f1"] == pytest.approx(reference.f1_score(true, guess, average="micro"))
    assert scores["exact"] == pytest.approx(reference.accuracy_score(true, guess), abs=1e-6)
    probabilities = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    losses = [reference.log_loss(true[:, k], probabilities[:, k]) for k in range(4)]
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("kind", [(Regression, 1), (MultiLabel, 3)])
def test_losses_of_examples_are_those_of_the_step(kind):
    batch = _batch(kind[1])
    objective = _objective(*kind, batch_norm=True, dropout=0.3, ema=0.5)
    state = _started(objective, batch)
    key = jax.random.key(2)
    params, losses = objective.losses(state, batch, key)
    after, sums = objective.step(state, batch, key)
    each = losses(params)
    assert each.shape == (12,)
    assert float(jnp.mean(each)) == pytest.approx(objective.summarize(sums)["loss"], rel=1e-5)
    assert jax.tree.leaves(after["batch_stats"]) and after["ema"].keys() == {
        "params",
        "batch_stats",
    }
    before, then = state["batch_stats"], after["batch_stats"]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a != b).any(), before, then))


def test_outputs_of_another_number_are_refused():
    model = MLPConfig(hidden=(4,)).create(2)
    objective = Regression(model=model, outputs=1, optimizer=OPTIMIZER, steps=1, input_name="x")
    with pytest.raises(InputError, match=r"maps one example to \(1, 2\); expected \(1, 1\)"):
        _started(objective, _batch(1))
