"""Marian and T5 against transformers: hidden states, logits, a gradient, a step of AdamW, the texts
of greedy and beam search, and files."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.decoding import at_least, forced, no_repeats, search, without
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.ops import head_cross_entropy
from jaxmodels.pretrained import load, open_weights, save
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
from tests.models.text_to_text_theirs import (  # noqa: E402
    CONFIGS,
    END,
    NAMES,
    PADDING,
    WORDS,
    in_float64,
    model_of,
    params_of,
    their_model,
)

pytestmark = pytest.mark.parity
CASES = tuple(CONFIGS)
LENGTHS = (9, 5, 2)
RATE, DECAY = 1e-2, 0.1


def _pairs(case):
    """Sources with padding behind them, and targets with their beginning."""
    generator = np.random.default_rng(0)
    source = generator.integers(2, 30, (3, 9))
    valid = np.arange(9) < np.array(LENGTHS)[:, None]
    target = generator.integers(2, 30, (3, 6))
    target[:, 0] = PADDING[case]
    return (
        jnp.asarray(np.where(valid, source, PADDING[case])),
        jnp.asarray(valid),
        jnp.asarray(target),
    )


def near(ours, theirs, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 0.1),
        ours,
        theirs,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_hidden_states_logits_gradients_and_a_step_of_adamw_are_theirs(case):
    network = in_float64(their_model(transformers, case))
    model, params = model_of(case, jnp.float64), params_of(network, case, jnp.float64)
    source, valid, target = _pairs(case)

    def loss(params):
        hidden, kernel = model.apply(
            {"params": params}, source, target, valid=valid, method="hidden_and_head"
        )
        labels = target[:, 1:]
        return head_cross_entropy(hidden[:, :-1], kernel, labels, block=8).total / labels.size

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    logits = model.apply({"params": params}, source, target, valid=valid)
    memory = model.apply({"params": params}, source, valid, BlockInputs(), method="_encoded")
    rule = optax.adamw(RATE, b1=0.9, b2=0.95, eps=1e-8, weight_decay=DECAY)
    updates, _ = rule.update(gradients, rule.init(params), params)

    network.zero_grad()
    out = network(
        input_ids=torch.tensor(np.asarray(source)),
        attention_mask=torch.tensor(np.asarray(valid)).long(),
        decoder_input_ids=torch.tensor(np.asarray(target)),
    )
    wanted = torch.tensor(np.asarray(target[:, 1:])).flatten()
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), wanted)
    expected.backward()
    is_there = np.asarray(valid)
    near(memory[is_there], out.encoder_last_hidden_state.detach().numpy()[is_there])
    near(logits, out.logits.detach().numpy())
    near(value, expected.item())
    trained = {p for p in network.parameters() if p.grad is not None}
    theirs = params_of(network, case, jnp.float64, lambda p: p.grad if p in trained else p)
    near(_learned(gradients, case), _learned(theirs, case))
    torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY).step()
    theirs = params_of(network, case, jnp.float64)
    near(_learned(optax.apply_updates(params, updates), case), _learned(theirs, case))


def _learned(params, case):
    """What both learn: of Marian, torch learns neither the bias of words, nor the embedding of
    padding, with which targets begin."""
    if case != "marian":
        return params
    table = params["embedding"]["embedding"]
    return {**params, "head_bias": {}, "embedding": jnp.delete(table, PADDING[case], axis=0)}


@lru_cache(None)
def _both(case):
    network = their_model(transformers, case)
    return network, model_of(case), params_of(network, case)


ROOM = 14
SEARCHES = {
    "greedy": ({"num_beams": 1}, {"beams": 1}, ()),
    "beam": ({"num_beams": 4, "num_return_sequences": 4}, {"beams": 4}, ()),
    "longer": (
        {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 2.0, "early_stopping": True},
        {"beams": 4, "length_penalty": 2.0, "stop": "full"},
        (),
    ),
    "ruled": (
        {
            "num_beams": 3,
            "num_return_sequences": 3,
            "no_repeat_ngram_size": 2,
            "min_length": 5,
            "suppress_tokens": [7, 9],
            "forced_eos_token_id": END,
            "early_stopping": "never",
        },
        {"beams": 3, "stop": "exact"},
        (no_repeats(2), at_least(5, END), forced(END, ROOM - 1), without([7, 9])),
    ),
}


@pytest.mark.parametrize(
    ("case", "how"),
    [
        *(("marian", how) for how in SEARCHES),
        ("t5", "greedy"),
        ("t5", "ruled"),
        ("t5-1.1", "beam"),
    ],
)
def test_texts_are_those_of_their_generate(case, how):
    network, model, params = _both(case)
    source, valid, _ = _pairs(case)
    theirs, ours, rules = SEARCHES[how]

    @jax.jit
    def run(params, source, valid):
        memory = model.apply({"params": params}, source, valid, method="encode")
        begin = jnp.full((len(source), 1), PADDING[case])
        step = model.step_of(params, memory)
        return search(step, begin, most=ROOM - 1, end=END, rules=rules, **ours)

    found = run(params, source, valid)
    network.generation_config.forced_eos_token_id = None
    out = network.generate(
        torch.tensor(np.asarray(source)),
        attention_mask=torch.tensor(np.asarray(valid)).long(),
        max_length=ROOM,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        **theirs,
    )
    count = theirs.get("num_return_sequences", 1)
    sequences = out.sequences.numpy().reshape(3, count, -1)
    for row in range(3):
        for place in range(count):
            size = int(found.length[row, place])
            text = np.asarray(found.tokens[row, place, :size])
            np.testing.assert_array_equal(text, sequences[row, place, :size])
            assert size == ROOM or text[-1] == END
    if count > 1:
        scores = out.sequences_scores.numpy().reshape(3, count)
        np.testing.assert_allclose(found.score[:, :count], scores, rtol=1e-4, atol=1e-5)
    lengths = np.asarray(found.length[:, :count])
    if (case, how) in (("marian", "beam"), ("t5", "greedy"), ("t5-1.1", "beam")):
        assert lengths.min() < ROOM  # some text ends


@pytest.mark.campaign
@pytest.mark.parametrize("case", CASES)
def test_a_pass_with_a_cache_is_a_pass_over_all(case):
    _, model, params = _both(case)
    source, valid, target = _pairs(case)
    wanted = model.apply({"params": params}, source, target, valid=valid)
    memory = model.apply({"params": params}, source, valid, method="encode")
    # Two rows read each row of the memory; the second one stands two places further on.
    rows, target = np.repeat(np.arange(3), 2), jnp.repeat(target, 2, axis=0)
    step = model.step_of(params, memory)
    decode = jax.jit(step.decode)
    cache = step.empty_cache(6, target.shape[1])
    start, last = jnp.array([2, 4] * 3), jnp.array([1, 3] * 3)
    found, cache = decode(target[:, :4], cache, jnp.zeros(6, jnp.int32), last)
    near(found[:, 0], wanted[rows, last], 1e-4)
    for more in range(2):
        new = jnp.take_along_axis(target, start[:, None] + more, axis=1)
        found, cache = decode(new, cache, start + more, jnp.zeros(6, jnp.int32))
        near(found[:, 0], wanted[rows, start + more], 1e-4)


@pytest.mark.parametrize("case", CASES)
def test_files_are_read_and_written_to_the_byte(case, tmp_path):
    network, _, params = _both(case)
    network.save_pretrained(tmp_path / "theirs")
    weights, names = open_weights(tmp_path / "theirs"), NAMES[case]
    assert [module.is_published(weights) for module in NAMES.values()] == [
        module is names for module in NAMES.values()
    ]
    flags = names.flags_from_published(weights)
    assert flags.pop("model") == case.removesuffix("-1.1")
    config = type(CONFIGS[case])(**flags)
    assert config == CONFIGS[case]
    shapes = jax.eval_shape(lambda params: {"params": params}, params)
    ours = load(weights, names.published(config), shapes)
    jax.tree.map(np.testing.assert_array_equal, ours["params"], params)
    tokens = {"begin": PADDING[case], "end": END, "padding": PADDING[case]}
    written = names.published_config(config, WORDS, **tokens)
    save(tmp_path / "ours", ours, names.published(config), written)
    file = "model.safetensors"
    assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()
    again = type(network).from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    source, valid, target = (torch.tensor(np.asarray(array)) for array in _pairs(case))
    inputs = {"attention_mask": valid.long(), "decoder_input_ids": target}
    with torch.no_grad():
        assert torch.equal(again(source, **inputs).logits, network(source, **inputs).logits)
