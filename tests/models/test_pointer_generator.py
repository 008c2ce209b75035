"""The pointer-generator: padding, a cache, beams of one source, and the sum of its mixture."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.pointer_generator import pointer_generator
from jaxmodels.ops.copy_mixture import log_probabilities

VOCABULARY = 11
SOURCE = jnp.array([[4, 1, 5, 1, 6, 0], [7, 8, 1, 0, 0, 0]])
COPIED = jnp.array([[4, 12, 5, 14, 6, 0], [7, 8, 13, 0, 0, 0]])
TARGET = jnp.array([[2, 12, 4, 14], [2, 7, 13, 9]])
VALID = SOURCE > 0


@lru_cache
def made():
    config = EncoderDecoderConfig(width=8, heads=2, encoder_layers=1, decoder_layers=1)
    model = pointer_generator(config, VOCABULARY, (6, 4))
    return model, jax.jit(partial(model.init, valid=VALID))(jax.random.key(0), SOURCE, TARGET)


@jax.jit
def whole(variables, source, copied, target, valid):
    mixture = made()[0].apply(variables, source, target, valid=valid)
    return log_probabilities(mixture, copied, valid)


def test_writing_word_by_word_is_the_whole_pass_and_sums_to_one():
    model, variables = made()
    expected = np.asarray(whole(variables, SOURCE, COPIED, TARGET, VALID))
    assert expected.shape == (2, 4, VOCABULARY + 6)
    np.testing.assert_allclose(np.exp(expected).sum(-1), 1, rtol=1e-5)
    encode = jax.jit(partial(model.apply, method="encode_to_copy"))
    memory = encode(variables, SOURCE, COPIED, VALID)
    step = model.copying_step(variables["params"], memory)
    # Two beams of each source, side by side.
    decode = jax.jit(step.decode)
    cache, tokens = step.empty_cache(4, 4), jnp.repeat(TARGET, 2, axis=0)
    for place in range(4):
        start = jnp.full(4, place)
        given = tokens[:, place : place + 1], cache, start, jnp.zeros_like(start)
        found, cache = decode(*given)
        np.testing.assert_allclose(found[::2, 0], expected[:, place], atol=1e-5)
        np.testing.assert_array_equal(found[::2], found[1::2])


def test_padding_changes_nothing_and_words_of_the_source_alone_are_read_as_unknown():
    variables = made()[1]
    expected = np.asarray(whole(variables, SOURCE, COPIED, TARGET, VALID))
    other = jnp.where(VALID, SOURCE, 9)
    # What is copied from padding has no weight, whatever it is.
    np.testing.assert_array_equal(whole(variables, other, COPIED, TARGET, VALID), expected)
    short = whole(variables, SOURCE[1:, :3], COPIED[1:, :3], TARGET[1:], VALID[1:, :3])
    np.testing.assert_allclose(short, expected[1:, :, : VOCABULARY + 3], atol=1e-5)
    read = jnp.where(TARGET >= VOCABULARY, 1, TARGET)
    np.testing.assert_array_equal(whole(variables, SOURCE, COPIED, read, VALID), expected)
