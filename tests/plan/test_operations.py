"""Operations counted in jaxprs."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmodels.plan.operations import count_operations


def _count(function, *arrays):
    return count_operations(jax.make_jaxpr(function)(*arrays).jaxpr)


def test_products_convolutions_and_loops_are_counted():
    x, kernel = jnp.zeros((4, 8)), jnp.zeros((8, 6))
    product = 2 * 4 * 8 * 6
    assert _count(lambda x, w: x @ w, x, kernel) == product
    batched = lambda x, w: jnp.einsum("bij,bjk->bik", x, w)  # noqa: E731
    assert _count(batched, jnp.zeros((3, 4, 8)), jnp.zeros((3, 8, 6))) == 3 * product
    # Its gradient in both is two products more.
    loss = lambda x, w: jnp.sum(jnp.tanh(x @ w))  # noqa: E731
    assert _count(jax.grad(loss, (0, 1)), x, kernel) == 3 * product
    # What is computed again counts again.
    again = jax.grad(jax.checkpoint(lambda w, x: jnp.sum(jnp.sin(x @ w))), (0, 1))
    assert _count(again, kernel, x) == 4 * product
    looped = lambda w: lax.scan(lambda c, _: (c @ w, None), jnp.zeros((4, 8)), None, 5)  # noqa: E731
    assert _count(looped, jnp.zeros((8, 8))) == 5 * 2 * 4 * 8 * 8
    chosen = lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: jnp.zeros((4, 6)))  # noqa: E731
    assert _count(chosen, x, kernel) == product
    images, filters = jnp.zeros((2, 9, 9, 3)), jnp.zeros((3, 3, 3, 5))
    convolve = lambda x, w: lax.conv_general_dilated(  # noqa: E731
        x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert _count(convolve, images, filters) == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
