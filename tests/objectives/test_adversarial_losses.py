"""The players' losses: closed forms, and what happens far from zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.objectives.adversarial_losses import LOSSES

EXTREME = jnp.array([-1e4, -110.0, -20.0, 0.0, 20.0, 110.0, 1e4])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_finite_for_any_logits(name):
    real, fake = EXTREME, EXTREME[::-1]
    for function in LOSSES[name]:
        value, pull = jax.vjp(function, real, fake)
        assert jnp.all(jnp.isfinite(value))
        for gradient in pull(jnp.ones_like(value)):
            assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.usefixtures("float64")
def test_classifying_losses_are_log_likelihoods():
    generator = np.random.default_rng(0)
    real, fake = jnp.asarray(generator.normal(size=(2, 50)) * 3)
    probability = lambda logits: 1 / (1 + np.exp(-logits))  # noqa: E731
    expected = -np.log(probability(real)) - np.log(1 - probability(fake))
    for name in ("minimax", "non_saturating"):
        np.testing.assert_allclose(LOSSES[name].discriminator(real, fake), expected, rtol=1e-12)
    value = LOSSES["minimax"].generator(real, fake)
    np.testing.assert_allclose(value, np.log(1 - probability(fake)), rtol=1e-12)
    value = LOSSES["non_saturating"].generator(real, fake)
    np.testing.assert_allclose(value, -np.log(probability(fake)), rtol=1e-12)


def test_minimax_saturates_and_non_saturating_does_not():
    slope = {
        name: jax.grad(lambda fake, loss=LOSSES[name]: loss.generator(0.0, fake))(-20.0)
        for name in ("minimax", "non_saturating")
    }
    assert 0 > slope["minimax"] > -3e-9
    assert slope["non_saturating"] == pytest.approx(-1, abs=1e-6)


def test_minimax_is_a_zero_sum_game_and_wasserstein_too():
    real, fake = jnp.array([1.3, -0.4]), jnp.array([0.2, -2.0])
    for name in ("minimax", "wasserstein"):
        by_fake = [
            jax.grad(lambda f, function=function: jnp.sum(function(real, f)))(fake)
            for function in LOSSES[name]
        ]
        np.testing.assert_allclose(by_fake[0], -by_fake[1], rtol=1e-6)


@pytest.mark.parametrize(
    "name, discriminator, generator",
    [
        ("hinge", [0.0 + 1.5, 2.0 + 0.0], [-0.5, 3.0]),
        ("least_squares", [0.5 * (1 + 0.25), 0.5 * (4 + 9)], [0.125, 8.0]),
        ("wasserstein", [-1.5, -2.0], [-0.5, 3.0]),
        ("relativistic", [np.log1p(np.exp(-1.5)), np.log1p(np.exp(-2.0))],
         [np.log1p(np.exp(1.5)), np.log1p(np.exp(2.0))]),
    ],
)  # fmt: skip
def test_values_by_hand(name, discriminator, generator):
    real, fake = jnp.array([2.0, -1.0]), jnp.array([0.5, -3.0])
    np.testing.assert_allclose(LOSSES[name].discriminator(real, fake), discriminator, rtol=1e-6)
    np.testing.assert_allclose(LOSSES[name].generator(real, fake), generator, rtol=1e-6)
