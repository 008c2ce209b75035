"""Classifiers of texts: padding changes nothing, and options are checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.bag import log_ratios
from jaxmodels.models.options import with_options
from jaxmodels.models.text_inputs import TextInput, masked_mean
from jaxmodels.models.text_models import TextModels
from tests.marks import slow

WORDS, CLASSES = 13, 3
SMALL = {
    "bag": {},
    "average": {"width": 6, "hidden": (5,)},
    "cnn": {"width": 6, "windows": (2, 3), "maps": 4},
    "lstm": {"width": 6, "hidden": 4, "layers": 2},
    "bert": {"layers": 1, "width": 8, "heads": 2, "hidden": 12, "positions": 12},
}


def text_of(length, junk=-1):
    """Three texts of 5, 2 and 1 tokens in rows of a length."""
    tokens = np.full((3, length), junk, np.int32)
    segments = np.zeros((3, length), np.int32)
    for row, size in enumerate((5, 2, 1)):
        tokens[row, :size] = (np.arange(size) * 3 + row) % WORDS
        segments[row, size // 2 : size] = 1
    return TextInput(jnp.asarray(tokens), jnp.asarray(segments))


def model_of(name):
    return with_options(TextModels(model=name), **SMALL[name]).create(CLASSES, WORDS)


def moved(model, text):
    """Parameters that are all far from zero."""
    variables = model.init(jax.random.key(0), text)
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return structure.unflatten(
        leaf + 0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)
    )


@pytest.mark.parametrize("name", ["bag", *map(slow, ("cnn", "bert", "average", "lstm"))])
def test_padding_changes_nothing(name):
    model, text = model_of(name), text_of(7)
    variables = moved(model, text)
    apply = jax.jit(model.apply)
    logits = apply(variables, text)
    assert logits.shape == (3, CLASSES) and len(np.unique(logits)) == 9
    # In rows of another length, and beside other texts.
    np.testing.assert_allclose(apply(variables, text_of(11)), logits, rtol=2e-5, atol=2e-6)
    other = TextInput(text.tokens.at[0].set(2), text.segments)
    assert np.array_equal(apply(variables, other)[1:], logits[1:])
    # To the bit, whatever stands for padding.
    assert np.array_equal(apply(variables, text_of(7, junk=-5)), logits)

    def loss(variables):
        return jnp.sum(jnp.sin(model.apply(variables, text)))

    gradients = jax.grad(loss)(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    if name in ("average", "cnn", "lstm"):
        # Padding looks a word up, which must not learn from it.
        seen = np.unique(np.maximum(text.tokens, 0))
        table = gradients["params"]["words"]["embedding"]
        assert not np.delete(table, seen, axis=0).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bag", *map(slow, ("cnn", "average", "lstm", "bert"))])
def test_dropout_is_of_training_alone_and_of_each_example(name):
    model, text = model_of(name), text_of(7)
    if name == "cnn":
        model = model.clone(word_dropout=True)
    variables = moved(model, text)
    rngs = {"dropout": jax.random.key(2)}
    plain = model.apply(variables, text, dropout_rate=0.5)
    assert np.array_equal(plain, model.apply(variables, text))
    options = {"train": True, "dropout_rate": jnp.float32(0.5), "rngs": rngs}
    dropped = model.apply(variables, text, **options)
    assert not np.allclose(dropped, plain)
    part = TextInput(text.tokens[:1], text.segments[:1])
    np.testing.assert_allclose(
        model.apply(variables, part, **options), dropped[:1], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_features_are_what_the_head_reads():
    for name in ("average", "bert"):
        model, text = model_of(name), text_of(7)
        variables = moved(model, text)
        features = model.apply(variables, text, method="features")
        head = variables["params"]["head"]
        logits = features @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(model.apply(variables, text), logits, rtol=1e-5, atol=1e-5)


def test_ratios_of_naive_bayes_by_hand():
    tokens = np.array([[0, 1, -1], [0, 2, 3], [2, -1, -1]])
    ratios = log_ratios(tokens, np.array([0, 1, 1]), 4, 2)
    first = np.log(np.array([2, 2, 1, 1]) / 6) - np.log(np.array([2, 1, 3, 2]) / 8)
    np.testing.assert_allclose(ratios, np.stack([first, -first], axis=1), rtol=1e-6)
    assert ratios.dtype == np.float32
    model = TextModels(model="bag").create(2, 4, ratios=ratios)
    text = TextInput(jnp.asarray(tokens), jnp.asarray([[0, 1, 0], [0, 1, 1], [1, 0, 0]]))
    variables = model.init(jax.random.key(0), text)
    variables["params"]["weight"] = jnp.ones((4, 2))
    logits = model.apply(variables, text)
    expected = [first[0] + 0.2 * first[1], first[0] + 0.2 * (first[2] + first[3]), 0.2 * first[2]]
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-5)
    assert np.array_equal(variables["batch_stats"]["ratio"], ratios)


def test_means_leave_padding_out():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    valid = jnp.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(masked_mean(x, valid), [[1, 2], [0, 0]])


@pytest.mark.parametrize(
    ("model", "flags", "told"),
    [
        ("bert", {"heads": 5}, "width = 768; expected a multiple of heads = 5"),
        ("bert", {"pool": "max"}, "max"),
        ("lstm", {"pool": "mean"}, "mean"),
        ("cnn", {"windows": (0,)}, "windows"),
        ("average", {"width": 0}, "width = 0; expected at least 1"),
        ("rnn", {}, "unknown model"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, flags, told):
    with pytest.raises(InputError, match=told):
        with_options(TextModels(model=model), **flags).create(2, 10)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(InputError, match="13 tokens; expected at most 12: a smaller --length"):
        jax.eval_shape(model_of("bert").init, jax.random.key(0), text_of(13))
