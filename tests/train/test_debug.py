"""The operation to which what is not finite goes back."""

import jax
import jax.numpy as jnp

from jaxmodels.train.debug import first_non_finite

X = jnp.array([1.0, 2.0, 3.0])


def _masked_softmax(x, mask):
    x = jnp.where(mask, x, -jnp.inf)
    weights = jnp.exp(x - jnp.max(x))
    return weights / jnp.sum(weights)


def test_a_mask_by_design_is_no_culprit():
    assert first_non_finite(_masked_softmax, X, X > 1) is None
    assert first_non_finite(lambda x: jnp.where(x > 1, jnp.log(x - x), x), X * 0) is None


def test_a_nan_made_of_infinities_is_found():
    found = first_non_finite(_masked_softmax, X, X > 9)
    assert found and "'sub' gave nan" in found and "; of an infinity" not in found
    masked = jnp.full(3, -jnp.inf)
    found = first_non_finite(lambda x, mask: jnp.sum(jax.nn.relu(x) + mask - mask), X, masked)
    assert found and "'sub' gave nan" in found and "the input [1] is not finite" in found


def test_what_does_not_reach_the_result_is_no_culprit():
    def function(x):
        y = jnp.where(x > 5, jnp.sqrt(-x), x)
        return jnp.log(y - x) * 2

    found = first_non_finite(function, X)
    assert found and "'log' gave inf" in found


def test_an_infinity_of_finite_numbers_is_found_where_no_nan_is():
    found = first_non_finite(lambda x: 1 / jnp.sum(jnp.exp(x * 1000)) - jnp.log(x - x), X)
    assert found and "'log' gave inf" in found


def test_a_nan_says_which_infinity_it_is_of():
    def loss(x):
        with jax.named_scope("layer"):
            big = jnp.exp(x * 1000)
        with jax.named_scope("head"):
            return jnp.sum(big / big)

    found = first_non_finite(loss, X)
    assert found and found.startswith("head, forward pass: 'div' gave nan")
    assert "; of an infinity: layer, forward pass: 'exp' gave inf" in found
    found = first_non_finite(jax.grad(lambda x: jnp.sum(jnp.sqrt(x * 0))), X)
    assert found and "backward pass: 'mul' gave nan" in found


def test_an_input_that_is_not_a_number_is_named():
    found = first_non_finite(lambda a: a["x"] + 1, {"x": X * jnp.nan})
    assert found == "the input [0]['x'] is not finite already"
    assert first_non_finite(lambda x: jnp.exp(-x), X * jnp.inf) is None


def test_a_constant_that_reaches_the_result_is_told():
    found = first_non_finite(lambda x: jnp.where(x > 1, x, -jnp.inf), X)
    assert found and "may be a constant" in found


def test_loops_are_followed():
    def function(x):
        def body(total, value):
            masked = jnp.where(value > 1, value, -jnp.inf)
            return total + jnp.exp(masked), jnp.log(value - 2)

        total, logs = jax.lax.scan(body, 0.0, x)
        return total, logs * 0

    found = first_non_finite(function, jnp.array([3.0, 2.0, 3.0]))
    assert found and "'mul' gave nan" in found and "'log' gave inf (shape ())" in found
