"""Hashed bits: their statistics, and that they depend on seed and place alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxmodels.ops import example_seeds, hash_bits, hash_dropout, seeds_for
from tests.ops.compiling import quick_jit

SEEDS = example_seeds(jax.random.key(7), jnp.arange(16))
dropped = quick_jit(hash_dropout)
BITS = np.asarray(hash_bits(SEEDS, (64, 64)))


def test_every_bit_is_a_fair_coin_and_independent_of_the_others():
    ones = (BITS.reshape(-1, 1) >> np.arange(32, dtype=np.uint32)) & 1
    count = len(ones)
    assert abs(stats.zscore(np.append(ones.mean(0), 0.5))).max() < 6
    np.testing.assert_allclose(ones.mean(0), 0.5, atol=5 * 0.5 / count**0.5)
    correlation = np.corrcoef(ones.T) - np.eye(32)
    assert abs(correlation).max() < 5.5 / count**0.5


def test_bytes_are_uniform_and_neighbours_are_not_alike():
    for shift in (0, 8, 16, 24):
        counts = np.bincount((BITS.ravel() >> shift) & 255, minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4
    uniform = BITS / 2**32
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-4
    pairs = [uniform[:, 1:] * 1, uniform[:, :, 1:], uniform[1:]]
    others = [uniform[:, :-1], uniform[:, :, :-1], uniform[:-1]]
    for one, other in zip(pairs, others, strict=True):
        r = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(r) < 5 / one.size**0.5


def test_examples_and_uses_share_no_numbers():
    of_use = quick_jit(lambda use: hash_bits(seeds_for(SEEDS, use), (64, 64)))
    several = [np.asarray(of_use(use)) for use in range(3)]
    found = np.concatenate([BITS.ravel(), *(bits.ravel() for bits in several)])
    # Of n numbers below 2^32, n^2 / 2^33 pairs are equal by chance.
    expected = len(found) ** 2 / 2**33
    assert abs(len(found) - len(np.unique(found)) - expected) < 6 * expected**0.5


def test_one_flipped_bit_of_a_seed_changes_half_of_all_bits():
    bits = quick_jit(lambda seeds: hash_bits(seeds, (64, 64)))
    for word in (0, 1):
        for bit in (0, 13, 31):
            flip = np.zeros((1, 2), np.uint32)
            flip[0, word] = 1 << bit
            changed = BITS ^ np.asarray(bits(np.asarray(SEEDS) ^ flip))
            share = np.unpackbits(changed.view(np.uint8)).mean()
            assert abs(share - 0.5) < 0.005


def test_numbers_of_an_example_do_not_depend_on_the_batch_that_it_is_in():
    def bits(positions):
        return hash_bits(example_seeds(jax.random.key(7), positions), (64, 64))

    np.testing.assert_array_equal(quick_jit(bits)(jnp.arange(4, 8)), BITS[4:8])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9, 1.0])
def test_dropout_keeps_the_expectation(rate):
    x = jnp.ones((16, 64, 64))
    y = np.asarray(dropped(x, rate, SEEDS))
    kept = y != 0
    deviation = (rate * (1 - rate) / y.size) ** 0.5
    np.testing.assert_allclose(kept.mean(), 1 - rate, atol=5 * deviation + 1e-6)
    if rate < 1:
        np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)


def test_dropout_keeps_the_type_and_has_the_gradient_of_its_mask():
    x = jnp.full((16, 8), 3.0, jnp.bfloat16)

    def total(x):
        y = hash_dropout(x, 0.5, SEEDS)
        return jnp.sum(y.astype(jnp.float32)), y

    gradient, y = quick_jit(jax.grad(total, has_aux=True))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(gradient), np.float32(y) / 3)
