"""Whisper beside transformers, from random weights that it writes, and from CTranslate2's names."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models import whisper_names, whisper_rules
from jaxmodels.models.whisper import WhisperConfig, step_of
from jaxmodels.models.whisper_rules import Writing, writing_of, written
from jaxmodels.pretrained import Stored, Weights, load, open_weights, save
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SOUNDS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 24, 8)), jnp.float32)
TOKENS = jnp.asarray(np.random.default_rng(1).integers(0, 60, (2, 7)), jnp.int32)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A small Whisper of transformers, and the folder that it writes."""
    torch.manual_seed(0)
    sizes = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    sizes |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    config = transformers.WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        num_mel_bins=8,
        max_source_positions=12,
        max_target_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=[5, 6],
        begin_suppress_tokens=[7],
        **sizes,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def ours(theirs):
    weights = open_weights(theirs[1])
    flags = whisper_names.flags_from_published(weights)
    config = WhisperConfig(**{name: flags[name] for name in flags if name != "model"})
    model = config.create(60)
    shapes = jax.eval_shape(model.init, jax.random.key(0), SOUNDS, TOKENS)
    variables = load(weights, whisper_names.published(config, weights), shapes)
    return config, model, variables, shapes


def test_states_logits_and_gradients_are_theirs(theirs, ours):
    model, (_, own, variables, _) = theirs[0], ours
    given = torch.tensor(np.asarray(SOUNDS)).transpose(1, 2)
    found = model(input_features=given, decoder_input_ids=torch.tensor(np.asarray(TOKENS)).long())
    states = own.apply(variables, SOUNDS, method="states")
    logits = own.apply(variables, SOUNDS, TOKENS)
    last = found.encoder_last_hidden_state.detach().numpy()
    np.testing.assert_allclose(states, last, atol=1e-5)
    np.testing.assert_allclose(logits, found.logits.detach().numpy(), atol=1e-5)
    weights = np.random.default_rng(2).normal(size=logits.shape).astype(np.float32)
    (found.logits * torch.tensor(weights)).sum().backward()
    gradients = jax.grad(
        lambda params: jnp.sum(weights * own.apply({"params": params}, SOUNDS, TOKENS))
    )(variables["params"])
    pairs = {
        "model.encoder.conv1.weight": gradients["conv1"]["kernel"].transpose(2, 1, 0),
        "model.encoder.layers.1.self_attn.k_proj.weight": gradients["encoder_block_1"]["attention"][
            "key"
        ]["kernel"].T,
        "model.decoder.layers.0.encoder_attn.v_proj.weight": gradients["decoder_block_0"]["sounds"][
            "value"
        ]["kernel"].T,
        "model.decoder.embed_tokens.weight": gradients["token_embedding"]["embedding"],
    }
    named = dict(model.named_parameters())
    for name, gradient in pairs.items():
        expected = named[name].grad.numpy()
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max() + 1e-6)
    assert not np.any(gradients["sound_positions"]["embedding"])


def test_the_cache_changes_nothing_and_texts_are_theirs(theirs, ours):
    model, (config, own, variables, _) = theirs[0], ours
    memory = own.apply(variables, SOUNDS, method="encode")
    step = step_of(own, variables["params"], memory)
    decode = jax.jit(step.decode)
    cache, logits = step.empty_cache(2, 7), []
    for place in range(7):
        one, cache = decode(
            TOKENS[:, place : place + 1], cache, jnp.full(2, place), jnp.zeros(2, jnp.int32)
        )
        logits.append(one)
    whole = own.apply(variables, SOUNDS, TOKENS)
    np.testing.assert_allclose(np.concatenate(logits, 1), whole, atol=1e-5)
    writing = Writing((3,), 2, config.suppressed, config.begin_suppressed)
    given = torch.tensor(np.asarray(SOUNDS)).transpose(1, 2)
    for beams in (1, 3):
        found = np.asarray(written(step, writing, 2, 14, beams).tokens[:, 0])
        expected = model.generate(
            input_features=given, max_new_tokens=14, num_beams=beams, do_sample=False
        ).numpy()
        for mine, other in zip(found[:, 1:], expected):
            assert mine[: len(other)].tolist() == other.tolist()
        assert not np.isin(found[:, 1:], [5, 6]).any() and not (found[:, 1] == 7).any()


def test_weights_leave_as_they_came(theirs, ours, tmp_path):
    config, _, variables, _ = ours
    names = whisper_names.published(config)
    published = whisper_names.published_config(config, 60, 3, 2)
    save(tmp_path / "out", variables, names, published)
    written_file = (tmp_path / "out/model.safetensors").read_bytes()
    assert written_file == (theirs[1] / "model.safetensors").read_bytes()
    again = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    given = (
        torch.tensor(np.asarray(SOUNDS)).transpose(1, 2),
        torch.tensor(np.asarray(TOKENS)).long(),
    )
    one, other = (
        model(input_features=given[0], decoder_input_ids=given[1]).logits
        for model in (again, theirs[0])
    )
    assert torch.equal(one, other)


def test_names_of_ctranslate2_are_the_same_weights(ours):
    config, _, variables, shapes = ours
    flat = {"encoder/conv1/weight"}
    table = whisper_names.published(config, flat)
    own = {name: np.asarray(value) for name, value in flatten_dict(variables, sep="/").items()}
    arrays = {
        entry.name: entry.layout.outward(*(own[path] for path in entry.paths))
        for entry in table.entries
    }
    stored = {
        name: Stored(array.shape, array.dtype, lambda array=array: array)
        for name, array in arrays.items()
    }
    facts = {"encoder/num_heads": 2, "decoder/num_heads": 2, "suppress_ids": [5, 6]}
    weights = Weights(path=Path("model.bin"), arrays=stored, config=facts)
    flags = whisper_names.flags_from_published(weights)
    assert flags["layers"] == 2 and flags["width"] == 16 and flags["suppressed"] == (5, 6)
    found = flatten_dict(load(weights, table, shapes), sep="/")
    for name, value in own.items():
        assert np.array_equal(value, found[name])
    # Keys of this network have no bias: one that is there is refused.
    name = "encoder/layer_0/self_attention/linear_0/bias"
    biased = arrays[name] + 1
    stored[name] = Stored(biased.shape, biased.dtype, lambda: biased)
    with pytest.raises(InputError, match="keys with a bias"):
        load(weights, table, shapes)


@pytest.mark.parametrize("several", [False, True], ids=["english", "several languages"])
def test_texts_begin_and_go_on_as_generate_writes_them(theirs, ours, monkeypatch, several):
    """The frame of texts that a tokenizer gives, beside what transformers makes of the
    generation_config.json that we write."""
    model, (config, own, variables, _) = theirs[0], ours
    # Tokens behind that of no times would be times.
    tokens = {"<|startoftranscript|>": 3, "<|endoftext|>": 2, "<|notimestamps|>": 59}
    tokens |= {"<|de|>": 9, "<|transcribe|>": 10}
    if several:
        monkeypatch.setattr(whisper_rules, "_MULTILINGUAL", 60)
        config = dataclasses.replace(config, language="de")
    writing = writing_of(config, SimpleNamespace(token_of=tokens.get), 60)
    assert writing.prompt == ((3, 9, 10, 59) if several else (3, 59))
    assert (writing.suppressed, writing.begin_suppressed) == ((5, 6), (7,))
    generation = whisper_names.generation_config(config, writing)
    monkeypatch.setattr(model, "generation_config", transformers.GenerationConfig(**generation))
    given = torch.tensor(np.asarray(SOUNDS)).transpose(1, 2)
    expected = model.generate(input_features=given, max_new_tokens=10, do_sample=False).tolist()
    step = step_of(own, variables["params"], own.apply(variables, SOUNDS, method="encode"))
    found = np.asarray(written(step, writing, 2, 10).tokens[:, 0])[:, len(writing.prompt) :]
    for mine, other in zip(found.tolist(), expected):
        assert mine[: len(other)] == other and len(other) > 1
    with pytest.raises(InputError, match=r"tokenizer has no <\|notimestamps\|>"):
        writing_of(config, SimpleNamespace(token_of={**tokens, "<|notimestamps|>": None}.get), 60)
