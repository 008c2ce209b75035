"""Losses of single examples: their mean is what a step descends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.classifiers import create_model
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.protocol import Objective
from tests.objectives.vae_toys import grey_images, small_vae, start

RATE = 0.1
SGD = {"optimizer": "sgd", "learning_rate": RATE, "schedule": "constant"}


def _descends_on_the_mean(objective, state, batch):
    key = jax.random.key(3)
    after, sums = jax.jit(objective.step)(state, batch, key)

    @jax.jit
    def values_and_gradient(state, batch, key):
        params, losses = objective.losses(state, batch, key)
        values, pull_back = jax.vjp(losses, params)
        return values, pull_back(jnp.full_like(values, 1 / len(values)))[0]

    values, gradient = values_and_gradient(state, batch, key)
    assert values.shape == (len(batch["image"]),)
    assert len(np.unique(values)) == len(values)
    assert float(jnp.mean(values)) == pytest.approx(objective.summarize(sums)["loss"], rel=1e-5)
    expected = jax.tree.map(lambda p, g: p - RATE * g, state["params"], gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after["params"], expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_classifier_with_batch_norm_dropout_and_augmentation(accumulate):
    generator = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(generator.normal(size=(12, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(generator.integers(0, 6, 12), jnp.int32),
    }
    classifier = Classifier(
        create_model("mlp", classes=6, hidden=(16,), batch_norm=True),
        6,
        OptimizerConfig(**SGD),
        steps=100,
        label_smoothing=0.1,
        dropout=0.3,
        accumulate=accumulate,
    )

    def augment(batch, key):
        noise = jax.random.normal(key, batch["image"].shape)
        return {**batch, "image": batch["image"] + noise}

    objective = with_preprocessing(
        classifier, lambda batch, key: {**batch, "image": 2 * batch["image"]}, augment
    )
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    state = objective.init(jax.random.key(0), spec, objective.hyperparameters)
    _descends_on_the_mean(objective, state, batch)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_vae(accumulate):
    vae = small_vae(accumulate=accumulate, **SGD)
    batch = {name: jnp.asarray(column) for name, column in grey_images(12).items()}
    _descends_on_the_mean(vae, start(vae, batch), batch)


def test_a_gan_gives_none():
    assert Objective.of(GAN).losses is None
