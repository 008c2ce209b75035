"""Sizes and names of T5's and Marian's published weights, and configs as flags."""

import jax
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models import marian_names, t5_names
from jaxmodels.models.marian import MarianConfig
from jaxmodels.models.t5 import T5Config
from jaxmodels.pretrained import load
from tests.pretrained.theirs import in_memory

SIZES = {"layers": 1, "decoder_layers": 1, "width": 8, "heads": 2, "hidden": 12}
T5 = T5Config(**SIZES, head_size=4, gated=True, tied=False, rows=11)
MARIAN = MarianConfig(**SIZES, context=6)
CONFIGS = {"t5": (T5, t5_names), "marian": (MARIAN, marian_names)}
WORDS = 11


def shapes_of(config, words=WORDS):
    tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
    return jax.eval_shape(config.create(words).init, jax.random.key(0), tokens, tokens)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "parameters"),
    [
        ("small", 60_506_624),
        ("base", 222_903_552),
        ("large", 737_668_096),
        ("small-1.1", 76_961_152),
        ("base-1.1", 247_577_856),
        ("large-1.1", 783_150_080),
        ("xl-1.1", 2_849_757_184),
    ],
)
def test_variants_of_t5_have_as_many_parameters_as_published(variant, parameters):
    sizes = T5Config(variant=variant).sizes()
    shapes = shapes_of(T5Config(variant=variant, layers=1, decoder_layers=1), 32_128)["params"]
    count = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
    more = (sizes["layers"] - 1) * count["encoder_block_0"]
    more += (sizes["decoder_layers"] - 1) * count["decoder_block_0"]
    assert sum(count.values()) + more == parameters


def files_of(kind, seed=0):
    """Random arrays of a model by their published names, and its config.json."""
    config, names = CONFIGS[kind]
    generator = np.random.default_rng(seed)
    shapes = shapes_of(config)
    params = jax.tree.map(lambda x: generator.normal(size=x.shape).astype(x.dtype), shapes)
    flat = {
        "params/" + "/".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params["params"])
    }
    table = names.published(config)
    arrays = {
        (entry.name if entry.outside else table.prefixes[0] + entry.name): entry.layout.outward(
            *(flat[path] for path in entry.paths)
        )
        for entry in table.entries
    }
    tokens = {"begin": WORDS - 1, "end": 0, "padding": WORDS - 1}
    return arrays, names.published_config(config, WORDS, **tokens), params


@pytest.mark.parametrize("kind", CONFIGS)
def test_weights_and_flags_are_read_strictly(kind):
    config, names = CONFIGS[kind]
    arrays, written, params = files_of(kind)
    weights = in_memory(arrays, written)
    assert names.is_published(weights)
    assert [module.is_published(weights) for _, module in CONFIGS.values()].count(True) == 1
    flags = names.flags_from_published(weights)
    assert flags.pop("model") == kind and type(config)(**flags) == config
    table, shapes = names.published(config, list(arrays)), shapes_of(config)
    jax.tree.map(np.testing.assert_array_equal, load(weights, table, shapes), params)
    first, *others = arrays
    for changed, message in (
        ({name: arrays[name] for name in others}, f"lacks {first}"),
        ({**arrays, "new.weight": arrays[first]}, "unknown new.weight"),
        ({**arrays, first: arrays[first] * np.nan}, "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            load(in_memory(changed, written), table, shapes)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("t5", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj"),
        ("t5", {"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon"),
        ("t5", {"d_kv": None}, "d_kv"),
        ("marian", {"decoder_attention_heads": 4}, "decoder_attention_heads = 4"),
        ("marian", {"activation_function": "tanh"}, "activation_function"),
        ("marian", {"scale_embedding": False}, "scale_embedding"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder"),
    ],
)
def test_what_the_network_does_not_have_is_refused(kind, changes, message):
    arrays, written, _ = files_of(kind)
    config = {**written, **changes}
    with pytest.raises(InputError, match=message):
        CONFIGS[kind][1].flags_from_published(in_memory(arrays, config))


def test_a_tied_head_that_is_not_scaled_is_refused():
    arrays, written, _ = files_of("t5")
    with pytest.raises(InputError, match="not scaled"):
        t5_names.flags_from_published(
            in_memory({n: a for n, a in arrays.items() if n != "lm_head.weight"}, written)
        )


def test_positions_of_old_files_are_checked_and_written_again():
    arrays, written, _ = files_of("marian")
    sines = marian_names.sinusoids_published(6, 8)
    name = "model.encoder.embed_positions.weight"
    for right in (True, False):
        both = {**arrays, name: sines + (not right)}
        table = marian_names.published(MARIAN, list(both))
        assert list(table.constants) == [name.removeprefix("model.")]
        if right:
            load(in_memory(both, written), table, shapes_of(MARIAN))
            continue
        with pytest.raises(InputError, match="embed_positions"):
            load(in_memory(both, written), table, shapes_of(MARIAN))


@pytest.mark.parametrize(
    "config",
    [
        T5Config(variant="huge"),
        T5Config(position_buckets=2),
        T5Config(farthest=8),
        MarianConfig(heads=3),
        MarianConfig(activation="tanh"),
        MarianConfig(width=-1),
    ],
    ids=repr,
)
def test_options_that_cannot_be_are_refused(config):
    with pytest.raises(InputError):
        config.validate()
