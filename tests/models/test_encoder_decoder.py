"""The transformer of an encoder and a decoder: masks, its cache, beams, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding import Choice, begin, choose, extend
from jaxmodels.errors import InputError
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig, sinusoids
from jaxmodels.models.layers.relative import relative_buckets
from tests.marks import slow

VOCABULARY = 11
SOURCE = jnp.array([[1, 2, 3, 4, -1, -1], [3, 4, 5, 6, 7, 8]])
TARGET = jnp.array([[0, 2, 3, 4, -1], [0, 5, 6, 7, 8]])
VALID = SOURCE >= 0


def made(**options):
    options = {"width": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, **options}
    model = EncoderDecoderConfig(**options).create(VOCABULARY, (6, 6))
    params = jax.jit(model.init)(jax.random.key(0), SOURCE, TARGET)["params"]
    # Biases and scales too, which begin as zeros and ones.
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)]
    return model, jax.tree.unflatten(tree, leaves)


def full(model, params, source, target, valid):
    apply = jax.jit(lambda *given: model.apply({"params": params}, *given[:2], valid=given[2]))
    return apply(source, target, valid)


CASES = [
    {"positions": "relative", "tied": "none", "position_buckets": 4, "farthest": 5},
    *map(slow, ({"norm": "last"}, {"positions": "learned", "tied": "decoder"})),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_cache_gives_the_logits_of_a_whole_pass_to_each_beam(options):
    model, params = made(**options)
    logits = full(model, params, SOURCE, TARGET, VALID)
    beams = 2

    @jax.jit
    def written(source, target, valid):
        memory = model.apply({"params": params}, source, valid, method="encode")
        step = model.step_of(params, memory)
        rows = jnp.repeat(target, beams, axis=0)
        zeros = jnp.zeros(len(rows), jnp.int32)
        # Two tokens at once, then one after another.
        first, cache = step.decode(rows[:, :2], step.empty_cache(len(rows), 5), zeros, zeros + 1)
        found = [first]
        for place in range(2, rows.shape[1]):
            given = rows[:, place : place + 1], cache, zeros + place, zeros
            more, cache = step.decode(*given)
            found.append(more)
        return jnp.concatenate(found, axis=1)

    found = np.asarray(written(SOURCE, TARGET, VALID)).reshape(2, beams, 4, VOCABULARY)
    expected = np.broadcast_to(logits[:, None, 1:], found.shape)
    is_there = np.broadcast_to((TARGET[:, 1:] >= 0)[:, None, :, None], found.shape)
    np.testing.assert_allclose(found[is_there], expected[is_there], rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "last"},
        {"positions": "learned"},
        {"positions": "relative", "position_buckets": 4, "farthest": 5},
    ],
    ids=str,
)
def test_padding_changes_no_bit(options):
    model, params = made(**options)
    logits = np.asarray(full(model, params, SOURCE, TARGET, VALID))
    source = SOURCE.at[0, 4:].set(jnp.array([7, 10]))
    target = TARGET.at[0, 4].set(9)
    others = np.asarray(full(model, params, source, target, VALID))
    is_there = np.asarray(TARGET >= 0)
    assert logits[is_there].tobytes() == others[is_there].tobytes()
    # What is there does change them.
    changed = full(model, params, SOURCE.at[0, 3].set(7), TARGET, VALID)
    assert np.abs(changed - logits)[0, :4].min() > 0


@pytest.mark.slow
def test_texts_are_drawn_from_the_logits_of_whole_passes():
    model, params = made()
    choice, keys = Choice(0.8, 5, 0.9, 0.0, 1.0), jax.random.split(jax.random.key(2), 2)
    room, start = 7, jnp.ones(2, int)

    @jax.jit
    def drawn(source, valid):
        memory = model.apply({"params": params}, source, valid, method="encode")
        step = model.step_of(params, memory)
        begun = begin(step, jnp.zeros((2, room), int), start, room)
        return extend(step, begun, room - 1, keys, choice, -1, room).tokens

    whole = jax.jit(lambda *given: model.apply({"params": params}, *given, valid=VALID))
    found, seen = np.asarray(drawn(SOURCE, VALID)), jnp.zeros((2, VOCABULARY), bool)
    texts = np.zeros((2, room), np.int32)
    for place in range(1, room):
        logits = whole(SOURCE, texts)[:, place - 1]
        each = jax.vmap(jax.random.fold_in)(keys, place * start)
        texts[:, place] = choose(each, logits, seen, choice)
    np.testing.assert_array_equal(found, texts)
    assert (found[0] != found[1]).any()


@pytest.mark.slow
def test_attention_to_the_source_is_shown_without_padding():
    model, params = made()
    weights = jax.jit(
        lambda *given: model.apply({"params": params}, *given, method="cross_weights")
    )(SOURCE, TARGET, VALID)
    assert weights.shape == (2, 2, 2, 5, 6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert not weights[0, ..., 4:].any() and weights[0, ..., :4].all()


@pytest.mark.slow
def test_dropout_is_that_of_the_example_not_of_its_batch():
    model, params = made(attention_dropout=True)

    @jax.jit
    def dropped(source, target):
        given = {"valid": source >= 0, "train": True, "dropout_rate": 0.3}
        rngs = {"dropout": jax.random.key(3)}
        return model.apply({"params": params}, source, target, rngs=rngs, **given)

    one = dropped(SOURCE, TARGET)
    other = dropped(SOURCE.at[1].set(5), TARGET)
    np.testing.assert_array_equal(one[0, :4], other[0, :4])
    same = dropped(jnp.stack([SOURCE[1]] * 2), jnp.stack([TARGET[1]] * 2))
    assert np.abs(same[0] - same[1]).max() > 1e-3
    np.testing.assert_array_equal(same[1], one[1])


def test_sinusoids_are_those_of_the_paper():
    places = jnp.arange(5)
    found = sinusoids(places, 6)
    for i in range(3):
        angle = np.arange(5) / 10_000 ** (2 * i / 6)
        np.testing.assert_allclose(found[:, i], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(found[:, 3 + i], np.cos(angle), atol=1e-6)


def test_relative_distances_have_buckets_of_growing_width():
    behind = jnp.array([-200, -9, -1, 0, 1, 7, 8, 15, 16, 500])
    one_side = relative_buckets(behind, buckets=16, most=32, both_sides=False)
    assert one_side.tolist() == [0, 0, 0, 0, 1, 7, 8, 11, 12, 15]
    both = relative_buckets(behind, buckets=16, most=32, both_sides=True)
    assert both.tolist() == [15, 13, 9, 0, 1, 5, 5, 6, 6, 7][:3] + both.tolist()[3:]
    assert both.tolist()[3:5] == [0, 1] and max(both.tolist()[3:]) == 7


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="expected an even multiple of heads = 3"):
        EncoderDecoderConfig(width=8, heads=3).validate()
    with pytest.raises(InputError, match="norm"):
        EncoderDecoderConfig(norm="middle").validate()
