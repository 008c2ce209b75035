"""Muon as its authors publish it: orthogonalisation against an SVD, and the shapes it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmodels import across
from jaxmodels.objectives.muon import STEEP, in_stacks, orthogonalized, scale_by_muon
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.train.layout import make_mesh

CONVERGING = (2.0, -1.5, 0.5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7)])
def test_converging_coefficients_give_the_nearest_orthogonal_matrix(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    found = orthogonalized(jnp.asarray(matrix), CONVERGING, 30, None)
    np.testing.assert_allclose(found, left @ right, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("coefficients, steps", [(STEEP, 5), (CONVERGING, 12)])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_each_step_maps_every_singular_value_by_its_polynomial(coefficients, steps, shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values /= np.linalg.norm(matrix) + 1e-7
    a, b, c = coefficients
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    found = orthogonalized(jnp.asarray(matrix), coefficients, steps, None)
    np.testing.assert_allclose(found, (left * values) @ right, rtol=1e-9, atol=1e-11)


def test_in_bfloat16_singular_values_are_near_one():
    matrix = jax.random.normal(jax.random.key(0), (64, 256))
    found = orthogonalized(matrix, STEEP, 5)
    assert found.dtype == jnp.bfloat16
    values = np.linalg.svd(np.asarray(found, np.float64), compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.25


def test_a_zero_gradient_makes_no_step():
    assert not orthogonalized(jnp.zeros((3, 4))).any()


def test_kernels_of_convolutions_are_matrices_of_their_inputs_and_outputs():
    """The spectral norm of a step is that of an orthogonal matrix times sqrt(outputs / inputs)."""
    rule = scale_by_muon(0.95, jax.jit(lambda x: orthogonalized(x, CONVERGING, 30, None)))
    for shape, scale in {(3, 3, 4, 144): 2.0, (3, 3, 4, 9): 1.0}.items():
        gradient = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
        update, _ = rule.update(gradient, rule.init(gradient), gradient)
        values = np.linalg.svd(update.reshape(-1, shape[-1]), compute_uv=False)
        np.testing.assert_allclose(values, scale, rtol=1e-3)


def test_adam_updates_what_muon_should_not():
    """Of embeddings, heads and vectors the first step has the size of the learning rate."""
    params = {
        "words": {"embedding": jnp.ones((5, 3))},
        "block": {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)},
        "head": {"kernel": jnp.ones((3, 5))},
    }
    config = OptimizerConfig(optimizer="muon_jordan", momentum=0.95, adam_momentum=0.8)
    numbers = {name: jnp.float32(value) for name, value in config.hyperparameters().items()}
    rule = make_optimizer(config, numbers, jnp.float32(0.1))
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(2), p.shape), params)
    updates, _ = jax.jit(rule.update)(gradients, rule.init(params), params)
    matrix = updates["block"].pop("kernel")
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(np.abs(update), 0.1, rtol=1e-4)
    assert np.abs(np.abs(matrix) - 0.1).max() > 0.01


@pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
def test_stacks_on_a_mesh_give_what_each_matrix_gives_alone():
    """Of two shapes, one of them transposed too, and of fewer matrices than devices."""
    draw = np.random.default_rng(0).normal
    shapes = [(8, 16), (16, 8), (8, 16), (16, 16)]
    matrices = [jnp.asarray(draw(size=shape), jnp.float32) for shape in shapes]
    alone = partial(orthogonalized, dtype=None, steps=2)
    mesh = make_mesh("fsdp=8")
    divided = NamedSharding(mesh, PartitionSpec("fsdp"))
    with across.use_mesh(mesh, lambda path, shape: PartitionSpec()):
        stacked = jax.jit(
            lambda given: in_stacks(alone, given), in_shardings=divided, out_shardings=divided
        )
        compiled = stacked.lower(matrices).compile()
    for found, matrix in zip(compiled(jax.device_put(matrices, divided)), matrices, strict=True):
        np.testing.assert_allclose(found, alone(matrix), rtol=1e-4, atol=1e-5)
    # Parts are exchanged, and none gathered.
    assert "all-to-all" in compiled.as_text() and "all-gather" not in compiled.as_text()
