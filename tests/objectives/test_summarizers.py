"""Summarizers: which words count, that copying yields words that no vocabulary has, prompts."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmodels.data.buckets import Bucket
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.language_models import create_language_model
from jaxmodels.models.pointer_generator import pointer_generator
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.pointer_summarizer import PointerSummarizer
from jaxmodels.objectives.prompted_summarizer import PromptedSummarizer
from jaxmodels.objectives.summaries import SummarySearch
from jaxmodels.ops.copy_mixture import log_probabilities

WORDS, END, KEY = 9, 3, jax.random.key(0)
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.1, schedule="constant")
SEARCH = SummarySearch(most=4, end=END, barred=(0, 1, 2))
BATCH = {
    "source": jnp.array([[4, 1, 5, 1], [1, 6, 0, 0]]),
    "copied": jnp.array([[4, 10, 5, 12], [9, 6, 0, 0]]),
    "target": jnp.array([[2, 10, 3, 0], [2, 6, 9, 3]]),
    "row": jnp.arange(2),
    "valid": jnp.ones(2, bool),
}


def _pointer(**options):
    config = EncoderDecoderConfig(width=8, heads=2, encoder_layers=1, decoder_layers=1)
    model = pointer_generator(config, WORDS, (4, 5))
    return PointerSummarizer(model=model, optimizer=SGD, steps=2, search=SEARCH, **options)


@cache
def _state():
    objective = _pointer()
    spec = {name: jax.ShapeDtypeStruct(column.shape, int) for name, column in BATCH.items()}
    numbers = {name: jnp.float32(n) for name, n in objective.hyperparameters.items()}
    return jax.jit(lambda key: objective.init(key, spec, numbers))(KEY)


def test_the_loss_is_the_mean_over_words_and_their_end_without_padding():
    objective, state = _pointer(), _state()
    valid = BATCH["source"] > 0

    @jax.jit
    def probabilities(params):
        given = {"params": params}, BATCH["source"], BATCH["target"][:, :-1]
        mixture = objective.model.apply(*given, valid=valid)
        return log_probabilities(mixture, BATCH["copied"], valid)

    each = np.asarray(probabilities(state["params"]))
    targets = np.asarray(BATCH["target"])[:, 1:]
    nats = -np.take_along_axis(each, targets[..., None], axis=-1)[..., 0]
    scored = targets > 0
    evaluate = jax.jit(objective.evaluate)
    found = evaluate(state, BATCH, KEY)
    assert int(found.loss.count) == scored.sum() == 5
    np.testing.assert_allclose(found.loss.value(), nats[scored].mean(), rtol=1e-5)
    found = evaluate(state, {**BATCH, "valid": jnp.array([False, True])}, KEY)
    np.testing.assert_allclose(found.loss.value(), nats[1].mean(), rtol=1e-5)
    assert objective.summarize(found).keys() == {"loss", "copying"}


@pytest.mark.slow
def test_parts_of_a_batch_have_the_gradient_of_the_whole():
    one, two = (
        jax.jit(_pointer(accumulate=parts).step)(_state(), BATCH, KEY)[0] for parts in (1, 2)
    )
    for a, b in zip(*(jax.tree.leaves(state["params"]) for state in (one, two)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    objective = _pointer()
    evaluate = jax.jit(objective.evaluate)
    loss = evaluate(_state(), BATCH, KEY).loss.value()
    assert evaluate(one, BATCH, KEY).loss.value() < loss
    _, losses = objective.losses(_state(), BATCH, KEY)
    totals = jax.jit(losses)(_state()["params"])
    np.testing.assert_allclose(np.mean(totals), loss, rtol=1e-5)


def test_copying_yields_words_that_the_vocabulary_lacks():
    state = _state()
    gate = {**state["params"]["gate"], "bias": jnp.full(1, -1e3)}
    always = {**state, "params": {**state["params"], "gate": gate}}
    only = {
        **BATCH,
        "source": jnp.ones((2, 4), int),
        "copied": jnp.array([[9, 10, 11, 9], [12, 9, 9, 12]]),
    }
    found = jax.jit(_pointer().write)(always, only, KEY)
    tokens = np.asarray(found["tokens"])
    # Without the vocabulary there is no end either.
    assert found["length"].tolist() == [4, 4] and found["row"].tolist() == [0, 1]
    assert all(set(tokens[row]) <= set(only["copied"][row].tolist()) for row in range(2))


def test_a_model_of_the_next_token_writes_behind_prompts_of_several_lengths():
    model = create_language_model("gpt2", WORDS, 10, layers=1, width=8, heads=2)
    search = SummarySearch(most=4, end=END, no_repeat=2)
    objective = PromptedSummarizer(model=model, optimizer=SGD, steps=2, search=search)
    tokens = jax.random.randint(KEY, (3, 11), 4, WORDS)
    params = jax.tree.map(lambda leaf: 5 * leaf, jax.jit(model.init)(KEY, tokens[:, :-1])["params"])
    # It never ends by itself, and what it would repeat is barred.
    params["token_embedding"]["embedding"] = params["token_embedding"]["embedding"].at[END].set(0)
    state = {"params": params, "ema": {}, "hyperparameters": {}}
    prompt = jnp.array([6, 3, 7])
    batch = {"tokens": tokens, "prompt": prompt, "row": jnp.arange(3)}
    found = jax.jit(objective.write)(state, batch, KEY)
    logits = jax.jit(model.apply)
    for row, length in enumerate(prompt.tolist()):
        text = tokens[row, :length].tolist()
        for _ in range(4):
            padded = jnp.array([text + [0] * (10 - len(text))])
            scores = np.array(logits({"params": params}, padded)[0, len(text) - 1])
            own = text[length:]
            for first, second in pairwise(own):
                if own[-1] == first:
                    scores[second] = -np.inf
            text.append(int(scores.argmax()))
            if text[-1] == END:
                break
        count = int(found["length"][row])
        assert found["tokens"][row, :count].tolist() == text[length:]


@pytest.mark.slow
def test_the_head_at_the_places_of_summaries_alone_has_the_loss_of_a_whole_pass():
    model = create_language_model("gpt2", WORDS, 10, layers=1, width=8, heads=2)
    search = SummarySearch(most=4, end=END)
    objective = PromptedSummarizer(model=model, optimizer=SGD, steps=2, search=search)
    plain = LanguageModel(model, SGD, 2)
    tokens, prompt = jax.random.randint(KEY, (3, 11), 0, WORDS), jnp.array([7, 4, 5])
    count = jnp.array([4, 1, 3])[:, None]
    places = jnp.arange(10) - (prompt[:, None] - 1)
    scored = (places >= 0) & (places < count)
    batch = {"tokens": tokens, "scored": scored, "prompt": prompt}
    params = jax.jit(model.init)(KEY, tokens[:, :-1])["params"]
    found, expected = (
        jax.jit(jax.value_and_grad(lambda params, one=one: _mean_loss(one, params, batch)))(params)
        for one in (objective, plain)
    )
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_a_summarizer_by_prompts_weighs_tokens_in_parts_and_on_devices():
    model = create_language_model("gpt2", WORDS, 10, layers=1, width=8, heads=2)
    options = {"model": model, "optimizer": SGD, "steps": 2, "search": SummarySearch(4, END)}
    tokens, prompt = jax.random.randint(KEY, (8, 11), 0, WORDS), jnp.array([7, 4, 5, 6] * 2)
    count = jnp.array([4, 1, 3, 2, 1, 1, 4, 4])[:, None]  # parts have unequal numbers of tokens
    places = jnp.arange(10) - (prompt[:, None] - 1)
    scored = (places >= 0) & (places < count)
    batch = {"tokens": tokens, "scored": scored, "prompt": prompt, "row": jnp.arange(8)}
    objective = PromptedSummarizer(**options)
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    state = jax.jit(lambda key: objective.init(key, spec, objective.hyperparameters))(KEY)
    whole, sums = jax.jit(objective.step)(state, batch, KEY)
    assert int(sums["loss"].count) == 20
    in_parts, _ = jax.jit(PromptedSummarizer(**options, accumulate=4).step)(state, batch, KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    divided = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    everywhere = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    on_devices, _ = jax.jit(objective.step)(everywhere, divided, KEY)
    for other in (in_parts, on_devices):
        for a, b in zip(*(jax.tree.leaves(x["params"]) for x in (whole, other)), strict=True):
            np.testing.assert_allclose(a, np.asarray(b), atol=1e-6)


def _mean_loss(objective, params, batch):
    mean, _, metrics = objective.loss({}, params, {}, batch, KEY)
    return mean.total / mean.count + 0 * metrics["accuracy"].total


@pytest.mark.slow
def test_a_batch_in_a_bucket_is_the_batch_in_the_longest_rows():
    buckets = (Bucket((2, 3), 2), Bucket((4, 4), 1))
    pairs = {name: BATCH[name][:, None] for name in ("source", "copied", "target")}
    # The second pair alone, cut to the smaller shape, beside one that has nothing.
    short = {
        name: jnp.concatenate([column[1:], 0 * column[1:]], axis=1)
        for name, column in pairs.items()
    }
    short["target"] = short["target"].at[0, 0].set(jnp.array([2, 9, 3, 0]))
    plain = {name: column[0] for name, column in short.items()}
    plain = {name: column[:1] for name, column in plain.items()}
    step = jax.jit(_pointer(buckets=buckets).step)
    for given, number, expected in ((short, 0, plain), (pairs, 1, BATCH)):
        batch = {**given, "bucket": jnp.full(len(given["source"]), number)}
        found, sums = step(_state(), batch, KEY)
        wanted, whole = jax.jit(_pointer().step)(_state(), expected, KEY)
        np.testing.assert_allclose(sums["loss"].value(), whole["loss"].value(), rtol=1e-5)
        for a, b in zip(*map(jax.tree.leaves, (found["params"], wanted["params"])), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
