"""Losses weighted by class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxmodels.models.classifiers import create_model
from jaxmodels.objectives.classifier import Classifier, balanced_weights
from jaxmodels.objectives.optimizers import OptimizerConfig

CLASSES = 3
SGD = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")
GENERATOR = np.random.default_rng(0)
LABELS = np.array([0] * 9 + [1] * 2 + [2], np.int32)
BATCH = {
    "image": jnp.asarray(GENERATOR.normal(size=(12, 4, 4, 1)), jnp.float32),
    "label": jnp.asarray(LABELS),
}
WEIGHTS = balanced_weights(LABELS, CLASSES)


def _make(**options):
    network = create_model("mlp", classes=CLASSES, hidden=(5,))
    objective = Classifier(network, CLASSES, SGD, steps=10, **options)
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), BATCH)
    return objective, network, objective.init(jax.random.key(0), spec, objective.hyperparameters)


def _stepped(batch=BATCH, **options):
    objective, _, state = _make(**options)
    after, sums = jax.jit(objective.step)(state, batch, jax.random.key(0))
    return after["params"], objective.summarize(sums)["loss"]


def _assert_near(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), one[0], other[0])
    assert one[1] == pytest.approx(other[1], rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(CLASSES), y=LABELS)
    np.testing.assert_allclose(WEIGHTS, expected)
    assert balanced_weights(np.array([0, 0, 2]), 3) == (0.75, 0.0, 1.5)


def test_the_loss_is_torchs():
    torch = pytest.importorskip("torch")
    objective, network, state = _make(class_weights=WEIGHTS)
    logits = network.apply({"params": state["params"]}, BATCH["image"])
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(np.array(logits)),
        torch.from_numpy(LABELS).long(),
        torch.tensor(WEIGHTS, dtype=torch.float32),
    )
    mean, _, _ = objective.loss(
        state["hyperparameters"], state["params"], {}, BATCH, jax.random.key(0)
    )
    assert mean.value() == pytest.approx(float(expected), rel=1e-6)
    params, losses = objective.losses(state, BATCH, jax.random.key(0))
    assert losses(params).mean() == pytest.approx(float(expected), rel=1e-6)


def test_a_rare_example_counts_as_copies_of_it_would():
    rows = np.array([row for row, label in enumerate(LABELS) for _ in range((1, 2, 4)[label])])
    copied = {name: column[rows] for name, column in BATCH.items()}
    _assert_near(_stepped(class_weights=(1.0, 2.0, 4.0)), _stepped(copied))


def test_parts_of_a_batch_give_its_gradient():
    _assert_near(_stepped(class_weights=WEIGHTS), _stepped(class_weights=WEIGHTS, accumulate=4))


def test_a_batch_of_small_weights_is_divided_by_their_sum():
    tenth = tuple(weight / 1000 for weight in WEIGHTS)
    _assert_near(_stepped(class_weights=WEIGHTS), _stepped(class_weights=tenth))


def test_mixed_examples_weigh_as_their_targets():
    objective, _, state = _make(class_weights=WEIGHTS)
    target = jnp.asarray(GENERATOR.dirichlet(np.ones(CLASSES), 12), jnp.float32)
    batch = {**BATCH, "target": target}
    mean, _, _ = objective.loss(
        state["hyperparameters"], state["params"], {}, batch, jax.random.key(0)
    )
    assert mean.count == pytest.approx(float((target @ jnp.array(WEIGHTS)).sum()), rel=1e-6)
