"""The head in blocks against the plain computation in float64, and its memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops import head_cross_entropy, soft_cap
from jaxmodels.ops import softmax_cross_entropy as plain_cross_entropy
from tests.ops.compiling import quick_jit

BATCH, LENGTH, WIDTH, WORDS = 2, 7, 5, 11


def arrays(dtype=np.float64):
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(BATCH, LENGTH, WIDTH)).astype(dtype)
    kernel = generator.normal(size=(WIDTH, WORDS)).astype(dtype)
    targets = generator.integers(0, WORDS, (BATCH, LENGTH))
    weights = generator.uniform(size=(BATCH, LENGTH)).astype(dtype)
    weights[0, 3] = 0
    return tuple(map(jnp.asarray, (hidden, kernel, targets, weights)))


def plain(hidden, kernel, targets, weights, cap, z_loss):
    logits = soft_cap(hidden @ kernel, cap)
    losses = plain_cross_entropy(logits, targets)
    squares = jax.nn.logsumexp(logits, axis=-1) ** 2
    return jnp.sum(weights * (losses + z_loss * squares)), (losses, logits)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("cap", "z_loss", "block"), [(0.0, 0.0, 4), (3.0, 0.01, 6), (3.0, 0.0, 99)]
)
def test_losses_and_gradients_equal_the_plain_ones(cap, z_loss, block, tied):
    hidden, kernel, targets, weights = arrays()

    def ours(hidden, kernel, weights, z_loss):
        options = {"logit_cap": cap, "z_loss": z_loss, "block": block, "tied": tied}
        found = head_cross_entropy(hidden, kernel, targets, weights, **options)
        return found.total, found

    def theirs(hidden, kernel, weights, z_loss):
        return plain(hidden, kernel, targets, weights, cap, z_loss)

    inputs = hidden, kernel, weights, z_loss
    gradients, found = quick_jit(jax.grad(ours, (0, 1, 2, 3), has_aux=True))(*inputs)
    plain_gradients = quick_jit(jax.value_and_grad(theirs, (0, 1, 2, 3), has_aux=True))
    (total, (losses, logits)), expected = plain_gradients(*inputs)
    np.testing.assert_allclose(found.total, total, rtol=1e-12)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(found.largest, logits.max(-1), rtol=1e-12)
    np.testing.assert_array_equal(found.hits, logits.argmax(-1) == targets)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), gradients, expected)


@pytest.mark.usefixtures("float64")
def test_gradients_through_the_losses_of_tokens_are_exact():
    hidden, kernel, targets, weights = arrays()

    def ours(hidden, kernel):
        found = head_cross_entropy(hidden, kernel, targets, weights, z_loss=0.1, block=4)
        return jnp.sum(found.losses**2) + found.total + jnp.sum(found.largest)

    def theirs(hidden, kernel):
        total, (losses, _) = plain(hidden, kernel, targets, weights, 0.0, 0.1)
        return jnp.sum(losses**2) + total

    got = quick_jit(jax.grad(ours, (0, 1)))(hidden, kernel)
    expected = quick_jit(jax.grad(theirs, (0, 1)))(hidden, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, expected)


def test_float32_is_near_and_half_precision_accumulates_in_float32():
    hidden, kernel, targets, weights = arrays(np.float32)

    def total(hidden, kernel):
        return head_cross_entropy(hidden, kernel, targets, weights, block=4).total

    def theirs(hidden, kernel):
        return plain(hidden, kernel, targets, weights, 0.0, 0.0)[0]

    value, gradients = quick_jit(jax.value_and_grad(total, (0, 1)))(hidden, kernel)
    expected, others = quick_jit(jax.value_and_grad(theirs, (0, 1)))(hidden, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradients, others)
    half = jnp.asarray(hidden, jnp.bfloat16)
    value, gradients = quick_jit(jax.value_and_grad(total, (0, 1)))(half, kernel)
    assert (value.dtype, gradients[0].dtype, gradients[1].dtype) == (
        "float32",
        "bfloat16",
        "float32",
    )
    np.testing.assert_allclose(value, expected, rtol=0.02)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), gradients, others)


def test_targets_without_weight_may_be_anything_and_others_are_nan():
    hidden, kernel, targets, weights = arrays(np.float32)
    compute = quick_jit(partial(head_cross_entropy, block=4))
    targets = np.array(targets)
    targets[0, 3] = -1  # its weight is 0
    assert np.isfinite(compute(hidden, kernel, targets, weights).total)
    targets[0, 4] = WORDS
    found = compute(hidden, kernel, targets, weights)
    assert np.isnan(found.total) and np.isnan(found.losses[0, 4])
    assert np.isfinite(np.delete(found.losses[0], [3, 4])).all()


def test_equal_logits_are_no_hit():
    hidden, kernel, targets, _ = arrays(np.float32)
    found = quick_jit(head_cross_entropy)(hidden, 0 * kernel, targets)
    assert not found.hits.any()
    np.testing.assert_allclose(found.losses, np.log(WORDS), rtol=1e-6)


def test_a_cap_bounds_logits_and_leaves_small_ones():
    x = jnp.array([-1e6, -0.1, 0.0, 0.1, 1e6])
    np.testing.assert_allclose(soft_cap(x, 15.0), [-15, -0.1, 0, 0.1, 15], rtol=1e-4)
    assert soft_cap(x, 0.0) is x


@pytest.mark.lowering
@pytest.mark.parametrize("tied", [False, True])
def test_temporaries_are_a_few_blocks_of_logits_and_the_gradient(tied, optimized):
    batch, length, width, words, block = 4, 256, 32, 8000, 64
    hidden = jax.ShapeDtypeStruct((batch, length, width), jnp.float32)
    kernel = jax.ShapeDtypeStruct((words, width) if tied else (width, words), jnp.float32)
    targets = jax.ShapeDtypeStruct((batch, length), jnp.int32)

    def total(compute):
        def of(hidden, kernel, targets):
            return compute(hidden, kernel.T if tied else kernel, targets)

        lowered = jax.jit(jax.value_and_grad(of, (0, 1))).lower(hidden, kernel, targets)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    ours = total(lambda *args: head_cross_entropy(*args, tied=tied, block=block).total)
    theirs = total(lambda h, k, t: jnp.sum(plain_cross_entropy(h @ k, t)))
    assert theirs > 4 * batch * length * words
    assert ours < 4 * words * (2.5 * block + 2 * width)
    assert ours < theirs / 5
