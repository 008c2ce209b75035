"""The classifier objective: gradients, averaging, accumulation, dropout, exact evaluation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn import metrics as sklearn_metrics

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.models.layers import Dense
from jaxmodels.models.mlp import MLP
from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.protocol import Objective

CLASSES = 6
SGD = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")


def _batch(count=24, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, 8, 8, 1)).astype(np.float32)
    labels = generator.integers(0, CLASSES, count).astype(np.int32)
    return {"image": jnp.asarray(images), "label": jnp.asarray(labels)}


def _make(model="mlp", optimizer=SGD, *, batch_norm=False, **options):
    network = create_model(model, classes=CLASSES, hidden=(16,), batch_norm=batch_norm)
    objective = Classifier(network, CLASSES, optimizer, steps=100, **options)
    return objective, network, _start(objective)


def _start(objective, batch=None):
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch or _batch())
    return objective.init(jax.random.key(0), spec, objective.hyperparameters)


def test_a_step_is_gradient_descent_on_the_mean_loss():
    objective, network, state = _make(label_smoothing=0.2)
    batch = _batch()

    def loss(params):
        logits = network.apply({"params": params}, batch["image"])
        target = 0.8 * jax.nn.one_hot(batch["label"], CLASSES) + 0.2 / CLASSES
        return optax.losses.softmax_cross_entropy(logits, target).mean()

    value, gradients = jax.value_and_grad(loss)(state["params"])
    after, sums = jax.jit(objective.step)(state, batch, jax.random.key(1))
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state["params"], gradients)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after["params"], expected
    )
    assert objective.summarize(sums)["loss"] == pytest.approx(float(value), rel=1e-6)
    assert after["step"] == 1
    assert sums["loss"].count == 24


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_accumulated_parts_give_the_whole_gradient(model):
    whole, _, state = _make(model)
    parts, _, _ = _make(model, accumulate=4)
    for key in range(2):
        a, sums_a = jax.jit(whole.step)(state, _batch(seed=key), jax.random.key(key))
        b, sums_b = jax.jit(parts.step)(state, _batch(seed=key), jax.random.key(key))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), a, b)
        assert whole.summarize(sums_a) == pytest.approx(parts.summarize(sums_b), rel=1e-5)
        state = a


def test_accumulation_carries_batch_statistics_through_every_part():
    objective, network, state = _make(batch_norm=True, accumulate=3)
    batch = _batch()
    after, _ = jax.jit(objective.step)(state, batch, jax.random.key(0))
    stats = state["batch_stats"]
    for part in range(3):
        _, changed = network.apply(
            {"params": state["params"], "batch_stats": stats},
            batch["image"][part::3],
            train=True,
            mutable=["batch_stats"],
        )
        stats = changed["batch_stats"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after["batch_stats"], stats
    )


def test_the_average_covers_parameters_and_batch_statistics_and_is_what_is_evaluated():
    objective, network, state = _make(batch_norm=True, ema=0.5)
    average = {name: state[name] for name in ("params", "batch_stats")}
    for step in range(3):
        state, _ = jax.jit(objective.step)(state, _batch(seed=step), jax.random.key(step))
        learned = {name: state[name] for name in ("params", "batch_stats")}
        decay = min(0.5, (1 + step) / (10 + step))
        average = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, average, learned)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state["ema"], average)
    logits = objective.predict(state, _batch(), jax.random.key(0))["logits"]
    np.testing.assert_allclose(logits, network.apply(average, _batch()["image"]), atol=1e-5)


def test_the_average_of_a_constant_is_that_constant():
    tree = {"x": jnp.full(3, 2.5)}
    for step in range(5):
        assert (update_average(tree, tree, jnp.float32(0.9), jnp.int32(step))["x"] == 2.5).all()


def test_dropout_is_keyed_and_only_in_training():
    objective, _, state = _make(dropout=0.5)
    step = jax.jit(objective.step)
    losses = [
        objective.summarize(step(state, _batch(), jax.random.key(k))[1])["loss"] for k in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    a, b = (objective.predict(state, _batch(), jax.random.key(k))["logits"] for k in (0, 1))
    np.testing.assert_array_equal(a, b)


def test_rates_are_read_from_the_state():
    objective, _, state = _make(dropout=0.5, label_smoothing=0.1, ema=0.9)
    batch, key = _batch(), jax.random.key(0)
    step = jax.jit(objective.step)
    before = jax.tree.leaves(step(state, batch, key)[0]["ema"])
    for name in ("dropout", "label_smoothing", "ema", "learning_rate"):
        changed = {
            **state,
            "hyperparameters": {**state["hyperparameters"], name: jnp.float32(0.05)},
        }
        after = jax.tree.leaves(step(changed, batch, key)[0]["ema"])
        assert any((a != b).any() for a, b in zip(before, after, strict=True)), name


@pytest.mark.parametrize("size", [24, 7])
def test_evaluation_equals_sklearn_over_padded_batches(size):
    objective, network, state = _make()
    batch = _batch()
    total = None
    for start in range(0, 24, size):
        rows = jnp.minimum(jnp.arange(start, start + size), 23)
        valid = jnp.arange(start, start + size) < 24
        part = jax.tree.map(lambda x, rows=rows: x[rows], batch) | {"valid": valid}
        sums = jax.jit(objective.evaluate)(state, part, jax.random.key(0))
        total = sums if total is None else jax.tree.map(jnp.add, total, sums)
    scores = objective.summarize(total)
    logits = np.asarray(network.apply({"params": state["params"]}, batch["image"]), np.float64)
    labels, predictions = np.asarray(batch["label"]), logits.argmax(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = {
        "loss": sklearn_metrics.log_loss(labels, probabilities, labels=range(CLASSES)),
        "accuracy": sklearn_metrics.accuracy_score(labels, predictions),
        "top5": sklearn_metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(CLASSES)),
    }
    macro = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, average="macro", zero_division=0
    )
    expected |= dict(zip(("precision", "recall", "f1"), macro[:3], strict=True))
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert 0 < scores["ece"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "lion", "muon"])
def test_every_optimizer_fits_a_batch(name):
    rate = {"sgd": 0.1, "momentum": 0.1, "lion": 3e-3, "muon": 0.05}.get(name, 1e-2)
    optimizer = OptimizerConfig(optimizer=name, learning_rate=rate, weight_decay=1e-4, clip=5.0)
    objective, _, state = _make("cnn", optimizer, batch_norm=True)
    step = jax.jit(objective.step)
    for number in range(60):
        state, sums = step(state, _batch(), jax.random.key(number))
    assert objective.summarize(sums)["accuracy"] == 1


def test_preprocessing_comes_before_everything():
    objective, _, _ = _make()

    def prepare(batch, key):
        return {**batch, "image": (batch["image"].astype(jnp.float32) - 3) / 2}

    wrapped = with_preprocessing(objective, prepare)
    raw = {"image": jnp.ones((4, 8, 8, 1), jnp.uint8), "label": jnp.arange(4)}
    raw["valid"] = jnp.array([True, True, False, True])
    state, key = _start(wrapped, raw), jax.random.key(1)
    predict = prepared(objective.predict, prepare)
    for ours, plain in (
        (wrapped.step, objective.step),
        (wrapped.evaluate, objective.evaluate),
        (predict, objective.predict),
    ):
        a, b = ours(state, raw, key), plain(state, prepare(raw, key), key)
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert wrapped.sample is None
    assert wrapped.hyperparameters == objective.hyperparameters


def test_what_an_evaluation_maps_is_prepared_with_the_keys_of_evaluation():
    plain = Objective.of(_make()[0])._replace(evaluate=lambda state, batch, key: batch["image"])

    def prepare(batch, key):
        return {**batch, "image": jax.random.normal(key, (2,))}

    wrapped, key = with_preprocessing(plain, prepare), jax.random.key(1)
    mapped = prepared(plain.evaluate, prepare)({}, {}, key)
    np.testing.assert_array_equal(wrapped.evaluate({}, {}, key), mapped)


def test_every_score_is_declared():
    objective, _, state = _make()
    sums = objective.step(state, _batch(), jax.random.key(0))[1]
    trained = objective.summarize(sums)
    valid = _batch() | {"valid": jnp.ones(24, bool)}
    evaluated = objective.summarize(objective.evaluate(state, valid, jax.random.key(0)))
    assert set(trained) | set(evaluated) == set(objective.scores)
    assert {name for name, score in objective.scores.items() if score.better == "lower"} == {
        "loss",
        "ece",
    }
    assert objective.scores["loss"].unit == "nats"


class Headed(nn.Module):
    """A model with a head of the house's own layers."""

    classes: int

    def setup(self):
        self.body, self.head = Dense(5), Dense(self.classes)

    def __call__(self, x, *, train=False):
        return self.head(self.features(x))

    def features(self, x):
        return nn.relu(self.body(x.reshape(len(x), -1)))


def test_features_come_from_the_model_and_its_average():
    objective = Classifier(Headed(CLASSES), CLASSES, SGD, steps=100, ema=0.5)
    state, batch, key = _start(objective), _batch(), jax.random.key(0)
    state, _ = objective.step(state, batch, key)
    features = jax.jit(objective.features)(state, batch, key)
    assert (features.shape, features.dtype) == ((24, 5), jnp.float32)
    head = state["ema"]["params"]["head"]
    logits = objective.predict(state, batch, key)["logits"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, rtol=1e-5)


def test_dropout_of_a_model_without_is_refused():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(3)(x.reshape(len(x), -1))

    class Passing(Plain):
        @nn.compact
        def __call__(self, x, **options):
            return nn.Dense(3)(x.reshape(len(x), -1))

    spec = {"image": jax.ShapeDtypeStruct((4, 2, 2, 1), jnp.float32)}
    for model, dropout in ((Plain(), 0.0), (Passing(), 0.1), (MLP(3, (4,), False), 0.1)):
        objective = Classifier(model, 3, OptimizerConfig(), 1, dropout=dropout)
        objective.init(jax.random.key(0), spec, objective.hyperparameters)
    objective = Classifier(Plain(), 3, OptimizerConfig(), 1, dropout=0.1)
    with pytest.raises(InputError, match=r"dropout = 0.1; model Plain has none; .*dropout_rate"):
        objective.init(jax.random.key(0), spec, objective.hyperparameters)


def test_a_model_without_features_is_named():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(CLASSES)(x.reshape(len(x), -1))

    objective = Classifier(Plain(), CLASSES, SGD, steps=100)
    state = _start(objective)
    with pytest.raises(InputError, match=r"model Plain offers no features; .*features\(x\)"):
        objective.features(state, _batch(), jax.random.key(0))


def test_a_head_of_another_width_is_named():
    objective, _, _ = _make()
    objective = replace(objective, classes=CLASSES + 1)
    with pytest.raises(InputError, match=r"MLP maps one example to \(1, 6\); expected \(1, 7\)"):
        _start(objective)
