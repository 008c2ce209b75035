"""One row times a kernel, divided over the cores of a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmodels.ops import one_row

LAST_WITH_FIRST = (((2,), (0,)), ((), ()))


def product(x, kernel):
    return one_row.one_row_dot_general(x, kernel, LAST_WITH_FIRST)


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(one_row, "_LEAST", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("inputs", "parts"), [(24, 4), (6, 2), (7, 1)])
def test_one_row_equals_the_product_and_its_gradients(inputs, parts):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 1, inputs)).astype(np.float32)
    kernel = generator.normal(size=(inputs, 5)).astype(np.float32)
    program = str(jax.make_jaxpr(product)(x, kernel))
    assert (f"[{parts},{inputs // parts},5]" in program) == (parts > 1)

    def loss(x, kernel):
        return jnp.sum(jnp.square(product(x, kernel)))

    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # noqa: E731
    y = x.astype(np.float64) @ kernel
    near(jax.jit(product)(x, kernel), y)
    gradients = jax.grad(loss, argnums=(0, 1))(x, kernel)
    near(gradients[0], 2 * y @ kernel.T)
    near(gradients[1], 2 * x[0].T @ y[0])


@pytest.mark.usefixtures("four_cores")
def test_several_rows_are_the_plain_product():
    x, kernel = jnp.ones((2, 1, 8)), jnp.arange(24.0).reshape(8, 3)
    plain = jax.make_jaxpr(lambda x, kernel: lax.dot_general(x, kernel, LAST_WITH_FIRST))
    assert str(jax.make_jaxpr(product)(x, kernel)) == str(plain(x, kernel))


def test_a_small_kernel_is_not_worth_dividing():
    x, kernel = jnp.ones((1, 1, 8)), jnp.ones((8, 3))
    assert "dot_general" in (program := str(jax.make_jaxpr(product)(x, kernel)))
    assert "reduce_sum" not in program
