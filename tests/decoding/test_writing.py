"""Texts go on as passes over the whole of them say, whatever the batch and the pieces."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding import Choice, Step, begin, extend
from jaxmodels.models.language_models import create_language_model

WORDS, CONTEXT, ROOM = 13, 8, 8
GREEDY = Choice(temperature=0.0)


@pytest.fixture(scope="module")
def model():
    """A model, its step, and its logits of the token after a text."""
    module = create_language_model("gpt", WORDS, CONTEXT, depth=2, width=16, head_size=8)
    params = module.init(jax.random.key(0), jnp.zeros((1, CONTEXT), jnp.int32))["params"]
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + noise.normal(0, 0.5, p.shape).astype(p.dtype), params)
    apply = partial(module.apply, {"params": params})
    step = Step(partial(apply, method="decode"), partial(apply, method="empty_cache"))
    whole = jax.jit(lambda tokens: apply(tokens))

    def next_logits(text):
        padded = np.zeros((1, CONTEXT), np.int32)
        padded[0, : len(text)] = text
        return np.asarray(whole(padded))[0, len(text) - 1]

    return step, next_logits


def _prompts(room=ROOM):
    tokens = np.zeros((3, room), np.int32)
    for row, prompt in enumerate(([5], [1, 2, 3], [7, 7])):
        tokens[row, : len(prompt)] = prompt
    return jnp.asarray(tokens), jnp.array([1, 3, 2])


def _keys(count=3):
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(1)))(jnp.arange(count))


@pytest.fixture(scope="module")
def write(model):
    """Writes in one program: (tokens, length, pieces, choice, end) -> texts and lengths."""
    step, _ = model

    @jax.jit
    def begun(tokens, length):
        return begin(step, tokens, length, CONTEXT)

    @jax.jit
    def extended(writing, count, keys, choice, end):
        return extend(step, writing, count, keys, choice, end, CONTEXT)

    def run(tokens, length, pieces, choice, end=-1, keys=None):
        writing = begun(tokens, length)
        keys = _keys(len(tokens)) if keys is None else keys
        for count in pieces:
            writing = extended(writing, count, keys, jax.tree.map(jnp.asarray, choice), end)
        return np.asarray(writing.tokens), np.asarray(writing.length)

    run.program = extended
    return run


def test_greedy_texts_are_those_of_full_passes(model, write):
    texts, lengths = write(*_prompts(), [ROOM], GREEDY)
    assert lengths.tolist() == [ROOM] * 3
    for row, prompt in enumerate(([5], [1, 2, 3], [7, 7])):
        text = list(prompt)
        while len(text) < ROOM:
            text.append(int(model[1](text).argmax()))
        assert texts[row].tolist() == text


def test_prompts_that_are_read_in_pieces_go_on_as_read_at_once(model, monkeypatch):
    step, next_logits = model
    monkeypatch.setattr("jaxmodels.decoding.writing._READ_AT_ONCE", 3)
    tokens = np.random.default_rng(4).integers(0, WORDS, (4, CONTEXT)).astype(np.int32)
    length = np.int32([1, 3, 4, 7])
    writing = jax.jit(lambda *given: begin(step, *given, CONTEXT))(tokens, length)
    for row, kept in enumerate(length):
        wanted = next_logits(tokens[row, :kept])
        np.testing.assert_allclose(writing.logits[row], wanted, rtol=1e-5, atol=1e-5)
    assert writing.start.tolist() == length.tolist()
    last, _ = step.decode(jnp.int32([[1]] * 4), writing.cache, writing.start, jnp.zeros(4, int))
    for row, kept in enumerate(length):
        wanted = next_logits([*tokens[row, :kept], 1])
        np.testing.assert_allclose(last[row, 0], wanted, rtol=1e-5, atol=1e-5)


def test_beyond_the_context_the_last_half_is_seen(model, write):
    room = 2 * CONTEXT + 3
    texts, _ = write(*_prompts(room), [room], GREEDY)
    for row, prompt in enumerate(([5], [1, 2, 3], [7, 7])):
        text, seen = list(prompt), list(prompt)
        while len(text) < room:
            text.append(int(model[1](seen).argmax()))
            seen = text[-CONTEXT // 2 :] if len(seen) == CONTEXT else [*seen, text[-1]]
        assert texts[row].tolist() == text


def test_a_text_depends_neither_on_the_batch_nor_on_the_pieces(write):
    choice = Choice(1.0, 5, 0.9, 0.01, 1.1)
    texts, _ = write(*_prompts(), [ROOM], choice)
    pieces, _ = write(*_prompts(), [1, 2, 0, 9], choice)
    np.testing.assert_array_equal(texts, pieces)
    tokens, length = _prompts()
    alone, _ = write(tokens[1:], length[1:], [ROOM], choice, keys=_keys()[1:])
    np.testing.assert_array_equal(texts[1:], alone)
    assert (write(*_prompts(), [ROOM], choice, keys=_keys(4)[1:])[0] != texts).any()


def test_a_text_ends_with_its_end_and_others_go_on(write):
    texts, _ = write(*_prompts(), [ROOM], GREEDY)
    end = int(texts[0, 3])
    ended, lengths = write(*_prompts(), [ROOM], GREEDY, end=end)
    for row, length in enumerate(np.asarray(_prompts()[1])):
        wanted = next((at + 1 for at in range(length, ROOM) if texts[row, at] == end), ROOM)
        assert lengths[row] == wanted
        np.testing.assert_array_equal(ended[row, :wanted], texts[row, :wanted])


def test_all_lengths_and_numbers_are_one_program(write):
    before = write.program._cache_size()
    write(*_prompts(), [3], Choice(0.3, 2, 0.5, 0.0, 1.0), end=4)
    write(_prompts()[0], jnp.array([4, 2, 6]), [1], GREEDY)
    assert write.program._cache_size() == max(before, 1)
