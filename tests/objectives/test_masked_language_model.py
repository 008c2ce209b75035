"""Masked tokens: which are hidden, that they cannot be seen, and the loss of these alone."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.models.language_models import create_language_model
from jaxmodels.objectives.masked_language_model import MaskedLanguageModel, corrupt
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

BATCH, LENGTH, WORDS, STEPS = 8, 12, 11, 2
MASK = WORDS  # the row of the table after those of the words
KEY = jax.random.key(0)
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.5, schedule="constant")
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


def _model(**options):
    sizes = {"layers": 1, "width": 8, "heads": 2}
    return create_language_model("gpt2", WORDS + 1, LENGTH, causal=False, **sizes, **options)


def _objective(**options):
    return MaskedLanguageModel(
        _model(), SGD, STEPS, mask_token=MASK, mask_rate=options.pop("mask_rate", 0.4), **options
    )


def _columns(count=BATCH, seed=0):
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, WORDS, (count, LENGTH + 1)).astype(np.int32)
    scored = generator.random((count, LENGTH)) < 0.7
    scored[0] = False
    return {"tokens": tokens, "scored": scored}


@cache
def _params():
    params = jax.jit(_model().init)(KEY, jnp.zeros((1, LENGTH), jnp.int32))["params"]
    return jax.tree.map(lambda leaf: 5 * leaf, params)


def _logits(tokens):
    return jax.jit(_model().apply)({"params": _params()}, tokens)


def _state(objective):
    numbers = {name: jnp.float32(n) for name, n in objective.hyperparameters.items()}
    return {"params": _params(), "hyperparameters": numbers, "ema": {}}


def test_fifteen_percent_are_chosen_and_four_fifths_of_them_hidden():
    """Each count lies within five standard deviations of a binomial."""
    words, shape = 50, (400, 250)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, words, shape), jnp.int32)
    hidden, chosen = map(
        np.asarray, corrupt(tokens, 0.15, words, KEY, jnp.arange(shape[0], dtype=jnp.int32))
    )
    before = np.asarray(tokens)
    changed = (hidden != before) & (hidden != words)
    assert not (hidden != before)[~chosen].any()

    def is_near(mask, among, share):
        spread = (share * (1 - share) * among) ** 0.5
        return abs(mask.sum() - share * among) < 5 * spread

    assert is_near(chosen, chosen.size, 0.15)
    number = chosen.sum()
    assert is_near(hidden == words, number, 0.8)
    # One random token in `words` is the one that was there.
    assert is_near(changed, number, 0.1 * (1 - 1 / words))
    assert is_near(chosen & (hidden == before), number, 0.1 * (1 + 1 / words))
    drawn = np.bincount(hidden[changed], minlength=words)
    assert drawn.min() > 0 and ((drawn - drawn.mean()) ** 2).sum() / drawn.mean() < 2 * words
    # Neither windows nor places go together: the counts of both spread as independent ones do.
    for axis in (0, 1):
        counts = chosen.sum(axis)
        expected = 0.15 * 0.85 * chosen.shape[axis]
        assert 0.7 < counts.var() / expected < 1.4


def test_places_follow_from_key_and_position_alone():
    tokens = jnp.zeros((4, 200), jnp.int32)
    positions = jnp.array([5, 2, 9, 2], jnp.int32)
    one = np.asarray(corrupt(tokens, 0.3, 7, KEY, positions).chosen)
    assert (one[1] == one[3]).all() and (one[0] != one[1]).any()
    alone = np.asarray(corrupt(tokens[:1], 0.3, 7, KEY, positions[2:3]).chosen)
    assert (alone[0] == one[2]).all()
    other = np.asarray(corrupt(tokens, 0.3, 7, jax.random.key(1), positions).chosen)
    assert (other != one).any(axis=1).all()
    assert np.asarray(corrupt(tokens, 1.0, 7, KEY, positions).chosen).all()


def test_the_loss_is_the_mean_over_the_hidden_tokens_that_are_scored():
    objective = _objective(z_loss=0.1)
    batch = jax.tree.map(jnp.asarray, _columns())
    questions = objective.training_questions(batch, KEY)
    logits = _logits(questions.inputs)
    normalizer = logsumexp(logits, axis=-1)
    words = np.asarray(batch["tokens"][:, 1:])
    true = jnp.take_along_axis(logits, words[..., None], axis=-1)[..., 0]
    losses = np.asarray(normalizer - true)
    scored = np.asarray(questions.scored)
    assert not (scored & ~_columns()["scored"]).any() and scored.sum() > 10

    state = _state(objective)
    loss, _, metrics = jax.jit(objective.loss)(state["hyperparameters"], _params(), {}, batch, KEY)
    assert metrics["loss"].value() == pytest.approx(losses[scored].mean(), rel=1e-5)
    wanted = (losses + 0.1 * np.asarray(normalizer) ** 2)[scored].mean()
    assert loss.value() == pytest.approx(wanted, rel=1e-5)
    assert int(loss.count) == int(metrics["accuracy"].count) == scored.sum()
    params, of_examples = objective.losses(state, batch, KEY)
    plain = losses[scored].sum() / scored.sum()
    assert float(jax.jit(of_examples)(params).mean()) == pytest.approx(plain, rel=1e-5)


def test_a_hidden_token_cannot_be_seen_and_all_others_can():
    """What stands where the mask is changes no logit; what stands anywhere else, even behind,
    changes the logits everywhere."""
    objective = _objective()
    batch = {"tokens": jnp.asarray(_columns()["tokens"])}
    inputs = objective.training_questions(batch, KEY).inputs
    hidden = np.asarray(inputs == MASK)
    row = int(np.flatnonzero(hidden[:, :-1].any(1))[0])
    place = int(np.flatnonzero(hidden[row])[0])
    planted = batch["tokens"].at[row, place + 1].add(1) % WORDS
    other = objective.training_questions({"tokens": planted}, KEY)
    assert int(other.targets[row, place]) != int(batch["tokens"][row, place + 1])
    assert (other.inputs == inputs).all()

    last = inputs.at[row, -1].set((inputs[row, -1] + 1) % WORDS)
    changed = np.abs(np.asarray(_logits(last) - _logits(inputs))).max(-1) > 0
    assert changed[row].all() and not np.delete(changed, row, axis=0).any()


def test_an_evaluation_hides_the_same_tokens_whatever_the_batch():
    objective, columns = _objective(), _columns()
    state = _state(objective)
    whole = {**columns, "valid": np.arange(BATCH) % 4 > 0, "position": np.arange(20, 20 + BATCH)}
    whole = jax.tree.map(jnp.asarray, whole)
    evaluate = jax.jit(objective.evaluate)
    one = evaluate(state, whole, KEY)
    turned = jax.tree.map(lambda column: column[::-1], whole)
    other = evaluate(state, turned, jax.random.key(1))
    assert int(one.loss.count) == int(other.loss.count) > 0
    assert one.loss.value() == pytest.approx(other.loss.value(), rel=1e-5)
    elsewhere = evaluate(state, {**whole, "position": whole["position"] + 100}, KEY)
    assert elsewhere.loss.value() != one.loss.value()


@needs_8
@pytest.mark.slow
def test_devices_give_what_one_gives():
    (one, sums), (other, window) = _trained(1), _trained(8)
    for a, b in zip(jax.tree.leaves(one["params"]), jax.tree.leaves(other["params"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert int(window["loss"].count) == int(sums["loss"].count)
    assert window["loss"].value() == pytest.approx(sums["loss"].value(), rel=1e-5)


def _trained(devices):
    source = Resident(_columns(48, seed=1))
    program = TrainProgram(
        _objective(), source, 16, STEPS, seed=1, mesh=make_mesh(f"data={devices}")
    )
    return program.advance(program.create(), program.zeros(), 0, STEPS)


def test_a_model_that_sees_all_has_no_cache_and_no_windows():
    with pytest.raises(InputError, match="causal = False"):
        _model().empty_cache(1, 4)
    with pytest.raises(InputError, match="window_pattern = 'SL'"):
        create_language_model("gpt", 5, 8, causal=False, window_pattern="SL")
    gpt = create_language_model(
        "gpt", 5, 4, causal=False, depth=1, width=8, head_size=8, zero_init=False
    )
    tokens = jnp.arange(4)[None]
    params = jax.jit(gpt.init)(KEY, tokens)
    run = jax.jit(gpt.apply)
    other = run(params, tokens.at[0, 3].set(4))
    assert (np.abs(np.asarray(run(params, tokens) - other)).max(-1) > 0).all()
