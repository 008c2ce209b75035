"""The names of Llama-like weights, and configs as flags."""

from pathlib import Path

import gguf
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models import llama_names
from jaxmodels.models.language_models import LanguageModels, create_language_model
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.models.options import with_options
from jaxmodels.pretrained import Stored, Weights, load, open_weights

SIZES = {"layers": 2, "width": 24, "heads": 4, "key_value_heads": 2, "hidden": 40}
SIZES |= {"rotary_base": 1e5, "rotary_factor": 1.0, "norm_epsilon": 1e-5}
WORDS = 31


def shapes_of(config, words=WORDS):
    model = config.create(words, 64)
    tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
    return jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]


@pytest.mark.parametrize(
    ("variant", "vocabulary", "parameters"),
    [
        ("smollm2-135m", 49_152, 134_515_008),
        ("smollm2-360m", 49_152, 361_821_120),
        ("smollm2-1.7b", 49_152, 1_711_376_384),
        ("llama2-7b", 32_000, 6_738_415_616),
        ("llama3-8b", 128_256, 8_030_261_248),
        ("llama3.2-1b", 128_256, 1_235_814_400),
        ("qwen2.5-0.5b", 151_936, 494_032_768),
        ("qwen2.5-7b", 152_064, 7_615_616_512),
    ],
)
def test_variants_have_as_many_parameters_as_published(variant, vocabulary, parameters):
    shapes = shapes_of(LlamaConfig(variant=variant, layers=1), vocabulary)
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
    layers = LlamaConfig(variant=variant).sizes()["layers"]
    assert sum(sizes.values()) + (layers - 1) * sizes["block_0"] == parameters


def gguf_name(name):
    """GGUF's name of transformers' name, by ggml's own table."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    base, _, leaf = name.rpartition(".")
    return f"{table.get_name(f'model.{base}') or table.get_name(base)}.{leaf}"


def in_turns(array, heads):
    """The rows of the halves of each head in turns, as llama.cpp's converter stores them."""
    halves = [np.split(head, 2) for head in np.split(array, heads)]
    return np.stack(
        [row for first, second in halves for both in zip(first, second) for row in both]
    )


def write_gguf(path, params, tied, facts=()):
    """Writes a GGUF file by ggml's own package.

    facts: (name of a method of the writer, its argument), of a tokenizer.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(24)
    writer.add_feed_forward_length(40)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e5)
    for name, value in facts:
        getattr(writer, name)(value)
    for entry in llama_names.published(LlamaConfig(**SIZES, tied=tied)).entries:
        array = np.ascontiguousarray(entry.layout.outward(params[entry.paths[0]]))
        if entry.name.endswith(("q_proj.weight", "k_proj.weight")):
            array = in_turns(array, 4 if "q_proj" in entry.name else 2)
        writer.add_tensor(gguf_name(entry.name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file_is_read_with_its_pairs_undone(tied, tmp_path):
    generator = np.random.default_rng(0)
    shapes = shapes_of(LlamaConfig(**SIZES, tied=tied))
    draw = lambda leaf: generator.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    file = tmp_path / "model.gguf"
    write_gguf(file, flatten_dict({"params": params}, sep="/"), tied)
    weights = open_weights(file)
    assert llama_names.is_published(weights)
    flags = llama_names.flags_from_published(weights)
    assert flags.pop("context") == 64 and flags["tied"] == tied
    models = with_options(LanguageModels(model=flags.pop("model")), **flags)
    assert models.llama.sizes() == LlamaConfig(**SIZES, tied=tied).sizes()
    found = load(weights, llama_names.published(models.llama, weights), {"params": shapes})
    jax.tree.map(np.testing.assert_array_equal, found["params"], params)


def weights_of(config, names=("model.layers.0.self_attn.q_proj.weight",)):
    stored = Stored((1,), np.dtype(np.float32), lambda: np.zeros(1, np.float32))
    return Weights(Path("model"), dict.fromkeys(names, stored), config)


@pytest.mark.parametrize("variant", ["smollm2-360m", "llama3.2-1b", "qwen2.5-7b"])
def test_a_config_gives_back_its_flags(variant):
    config = LlamaConfig(variant=variant)
    weights = weights_of(llama_names.published_config(config, 100, 512))
    assert llama_names.is_published(weights)
    flags = llama_names.flags_from_published(weights)
    assert flags.pop("context") == 512
    models = with_options(LanguageModels(model=flags.pop("model")), **flags)
    ours = {**config.sizes(), "head_size": config.sizes()["width"] // config.sizes()["heads"]}
    assert models.llama.sizes() == ours


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = gelu; expected silu"),
        ({"attention_bias": True}, "attention_bias = True; expected False"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_scaling = .*; expected none"),
        ({"hidden_size": None}, "hidden_size; expected"),
    ],
)
def test_what_the_network_does_not_have_is_refused(changed, message):
    config = llama_names.published_config(LlamaConfig(), 100, 512) | changed
    with pytest.raises(InputError, match=message):
        llama_names.flags_from_published(weights_of(config))
    assert not llama_names.is_published(weights_of({"model_type": "mamba"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "smollm"}, "unknown variant 'smollm'"),
        ({"key_value_heads": 3}, "key_value_heads = 3; expected a divisor of heads = 4"),
        ({"width": 130}, "width = 130; expected a multiple of heads = 4"),
        ({"head_size": 7}, "head_size = 7; expected an even number"),
        ({"rotary_base": 0.5}, "rotary_base = 0.5, rotary_factor = 1.0; expected"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message):
        create_language_model("llama", WORDS, 16, **options)


def test_a_width_keeps_its_proportions():
    models = LanguageModels(model="llama").of_width(256)
    assert models.llama.create(WORDS, 16).hidden == 688 and models.llama.sizes()["heads"] == 8
    with pytest.raises(InputError, match="expected one in which heads"):
        LanguageModels(model="llama").of_width(130)
