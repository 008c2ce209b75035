"""What is written is what the safetensors library writes, and reads back as it was."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from jaxmodels.errors import InputError
from jaxmodels.models import gpt2_names, resnet_names, vit_names
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.vit import ViTConfig
from jaxmodels.pretrained import Entry, Published, load, open_weights, save, save_file
from jaxmodels.pretrained.names import fused, linear
from tests.pretrained.theirs import in_memory

DTYPES = (
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint64, np.int32),
    *(np.uint32, np.int16, np.uint16, np.int8, np.uint8, np.bool_),
)


def test_bytes_are_those_of_the_library(tmp_path):
    generator = np.random.default_rng(0)
    named = {
        f"b.{number}": generator.integers(0, 2, (3, number)).astype(dtype)
        for number, dtype in enumerate(DTYPES)
    }
    named |= {'ünï"q': np.ones(3, np.float32), "a": np.array(3, np.float32)}
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(named, path, metadata={"format": "pt"})
    weights = open_weights(path)
    table = Published(tuple(Entry(name, (f"params/{name}",)) for name in weights))
    tree = {"params": {name: stored.read() for name, stored in weights.items()}}
    save_file(tmp_path / "ours.safetensors", tree, table)
    assert (tmp_path / "ours.safetensors").read_bytes() == path.read_bytes()


TABLE = Published(
    (
        *linear("layer", "layer"),
        Entry("qkv.weight", ("params/query", "params/key"), fused(2, transposed=True)),
    ),
    tied={"again": "layer.weight"},
    prefixes=("model.", ""),
    constants={"count": np.zeros((), np.int64)},
    ignored=(r"count$",),
)


def tree():
    generator = np.random.default_rng(0)
    sizes = {"query": (4, 2), "key": (4, 2)}
    params = {name: generator.normal(size=s).astype(np.float32) for name, s in sizes.items()}
    layer = {"kernel": np.ones((4, 6), np.float32), "bias": np.zeros(6, np.float32)}
    return {"params": {**params, "layer": layer}}


def test_a_folder_has_names_layouts_constants_and_config(tmp_path):
    save(tmp_path / "out", tree(), TABLE, {"model_type": "toy"})
    weights = open_weights(tmp_path / "out")
    assert weights.config == {"model_type": "toy"}
    assert weights["model.layer.weight"].shape == (6, 4)
    assert weights["model.qkv.weight"].shape == (4, 4)
    assert weights["model.count"].read() == 0 and "model.again" not in weights
    with safe_open(weights.files[0], "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    back = load(weights, TABLE, tree())
    for name in ("query", "key"):
        np.testing.assert_array_equal(back["params"][name], tree()["params"][name])
    with pytest.raises(InputError, match="out exists; name a folder"):
        save(tmp_path / "out", tree(), TABLE, {})


def test_half_precision_leaves_whole_numbers_alone(tmp_path):
    save(tmp_path / "out", tree(), TABLE, {}, dtype=jnp.bfloat16)
    weights = open_weights(tmp_path / "out")
    assert weights["model.layer.weight"].dtype == ml_dtypes.bfloat16
    assert weights["model.count"].dtype == np.int64


def test_large_models_are_spread_over_shards(tmp_path):
    save(tmp_path / "out", tree(), TABLE, {}, largest_shard=100)
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * (24 + 6 + 16) + 8
    weights = open_weights(tmp_path / "out")
    assert len(weights.files) == 2 and weights.files[0].name == "model-00001-of-00002.safetensors"
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    specs = {2: jax.P("model", "data"), 1: jax.P("data")}
    shardings = jax.tree.map(lambda leaf: jax.NamedSharding(mesh, specs[leaf.ndim]), tree())
    back = load(weights, TABLE, tree(), shardings)
    jax.tree.map(np.testing.assert_array_equal, back, tree())
    assert back["params"]["key"].sharding == shardings["params"]["key"]


def test_a_tree_that_the_table_does_not_describe(tmp_path):
    params = tree()["params"]
    others = {name: params[name] for name in ("query", "layer")} | {"new": np.ones(3)}
    message = "lacks params/key and has params/new, for which there is no name"
    with pytest.raises(InputError, match=message):
        save(tmp_path / "out", {"params": others}, TABLE, {})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*: (Not a directory|File exists)"):
        save(tmp_path / "file" / "out", tree(), TABLE, {})


CONFIGS = {
    "gpt2": (GPT2Config(layers=2, width=12, heads=3), gpt2_names, {"vocabulary": 9, "context": 8}),
    "resnet 18": (ResNetConfig(variant="18", width=4), resnet_names, {"classes": ("a", "b")}),
    "resnet 50": (
        ResNetConfig(variant="50", depths=(1, 2), width=4),
        resnet_names,
        {"classes": ("a", "b")},
    ),
    "vit": (
        ViTConfig(
            patch=4, width=12, depth=2, heads=3, pool="token", positions="learned", mlp_ratio=2
        ),
        vit_names,
        {"classes": ("a", "b"), "image_size": 8},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_is_read_as_the_same_flags(name):
    config, names, arguments = CONFIGS[name]
    written = json.loads(json.dumps(names.published_config(config, **arguments)))
    table = names.published(config)
    arrays = {table.prefixes[0] + entry.name: np.zeros(1) for entry in table.entries}
    weights = in_memory(arrays, written)
    assert names.is_published(weights)
    flags = names.flags_from_published(weights)
    assert flags.pop("model") == name.split()[0]
    assert flags.pop("context", 8) == 8
    assert type(config)(**flags).sizes() == config.sizes()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt2", {"activation_function": "relu"}, "activation_function = relu; expected gelu_new"),
        ("gpt2", {"n_inner": 7}, "n_inner = 7; expected 48"),
        ("gpt2", {"n_head": None}, "config.json without n_head"),
        ("resnet 18", {"hidden_act": "gelu"}, "hidden_act = gelu; expected relu"),
        ("resnet 18", {"hidden_sizes": [4, 8, 16, 31]}, "expected .4, 8, 16, 32., which double"),
        ("resnet 50", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck = True"),
        ("vit", {"qkv_bias": False}, "qkv_bias = False; expected True"),
        ("vit", {"intermediate_size": 25}, "an MLP of width 25; expected a multiple of 12"),
    ],
)
def test_what_the_network_here_has_not_is_refused(name, change, message):
    config, names, arguments = CONFIGS[name]
    table = names.published(config)
    arrays = {table.prefixes[0] + entry.name: np.zeros(1) for entry in table.entries}
    written = names.published_config(config, **arguments) | change
    with pytest.raises(InputError, match=message):
        names.flags_from_published(in_memory(arrays, written))


def test_what_others_have_not_is_refused():
    with pytest.raises(InputError, match="bias = False; transformers' GPT-2 has biases"):
        gpt2_names.published_config(GPT2Config(bias=False), 9, 8)
    with pytest.raises(InputError, match="have no ResNet whose stem is 'cifar'"):
        resnet_names.published_config(ResNetConfig(), ("a", "b"))
    with pytest.raises(InputError, match="export it as --naming timm"):
        vit_names.published_config(ViTConfig(), ("a", "b"), 8)


def test_sizes_of_torchvision_and_timm_stand_in_the_shapes():
    config = ViTConfig(
        variant="s16", patch=4, width=128, depth=3, heads=2, pool="token", positions="learned"
    )
    shapes = {
        "torchvision": ("conv_proj", "class_token", "encoder.layers.encoder_layer_{}", "ln_1"),
        "timm": ("patch_embed.proj", "cls_token", "blocks.{}", "norm1"),
    }
    for style, (embedding, token, block, norm) in shapes.items():
        arrays = {f"{embedding}.weight": np.zeros((128, 3, 4, 4)), token: np.zeros((1, 1, 128))}
        arrays |= {f"{block.format(i)}.{norm}.weight": np.zeros(128) for i in range(3)}
        linear1 = "mlp.0" if style == "torchvision" else "mlp.fc1"
        arrays[f"{block.format(0)}.{linear1}.weight"] = np.zeros((512, 128))
        flags = vit_names.flags_from_published(in_memory(arrays))
        del flags["model"]
        assert ViTConfig(**flags).sizes() == config.sizes()
    arrays = {"conv1.weight": np.zeros((8, 3, 7, 7)), "layer1.0.conv1.weight": np.zeros(1)}
    arrays |= {f"layer2.{block}.conv1.weight": np.zeros(1) for block in range(2)}
    flags = resnet_names.flags_from_published(in_memory(arrays))
    assert flags == {"model": "resnet", "variant": "18", "depths": (1, 2), "width": 8}
