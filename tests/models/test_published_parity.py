"""Networks of transformers, timm and torchvision, perturbed, saved, read by our tables: hidden
states and logits, and files that are written as they were read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models import gpt2_names, resnet_names, vit_names
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.vit import ViTConfig
from jaxmodels.pretrained import load, open_weights, save
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("optimized")]

SIZE, CLASSES = 32, 5


def perturbed(network):
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor))
    return network.eval()


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=31, n_positions=12, n_embd=24, n_layer=2, n_head=3, bos_token_id=None
    )
    return transformers.GPT2LMHeadModel(config)


def vit():
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = transformers.ViTConfig(
        **sizes, intermediate_size=48, image_size=SIZE, patch_size=8, num_labels=CLASSES
    )
    return transformers.ViTForImageClassification(config)


def resnet(kind):
    hidden = [8, 16, 32] if kind == "basic" else [32, 64, 128]
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=hidden,
        depths=[1, 2, 1],
        layer_type=kind,
        num_labels=CLASSES,
    )
    return transformers.ResNetForImageClassification(config)


NETWORKS = {
    "gpt2": (gpt2, gpt2_names, GPT2Config),
    "vit": (vit, vit_names, ViTConfig),
    "resnet, basic": (partial(resnet, "basic"), resnet_names, ResNetConfig),
    "resnet, bottleneck": (partial(resnet, "bottleneck"), resnet_names, ResNetConfig),
}


def read(folder, names, kind, create, example):
    """Our model and its variables, by what stands in the folder alone."""
    weights = open_weights(folder)
    assert names.is_published(weights)
    flags = names.flags_from_published(weights)
    options = {name: value for name, value in flags.items() if name not in ("model", "context")}
    config = kind(**options)
    model = create(config, flags)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), example)
    return config, model, load(weights, names.published(config, weights), shapes)


def near(ours, theirs):
    theirs = theirs.detach().numpy()
    assert theirs.std(axis=0).mean() > 1e-2  # otherwise any network would agree
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_networks_read_alike_and_are_written_byte_for_byte(tmp_path, name):
    make, names, kind = NETWORKS[name]
    network = perturbed(make())
    network.save_pretrained(tmp_path / "theirs")
    generator = np.random.default_rng(0)
    if name == "gpt2":
        inputs = jnp.asarray(generator.integers(0, 31, (2, 12)))
        create = lambda config, flags: config.create(31, flags["context"])  # noqa: E731
        given = torch.tensor(np.asarray(inputs))
    else:
        # Of one colour each and some noise: a random network hardly tells noise from noise.
        images = 2 * generator.normal(size=(4, 1, 1, 3)) + generator.normal(size=(4, SIZE, SIZE, 3))
        inputs = jnp.asarray(images, jnp.float32)
        create = lambda config, flags: config.create(CLASSES)  # noqa: E731
        given = torch.tensor(np.asarray(inputs)).permute(0, 3, 1, 2).double()
    config, model, variables = read(tmp_path / "theirs", names, kind, create, inputs)
    logits = jax.jit(model.apply)(variables, inputs)
    network = network.double()
    near(logits, network(given).logits)
    if name == "gpt2":
        hidden, _ = model.apply(variables, inputs, method="hidden_and_head")
        near(hidden, network.transformer(given).last_hidden_state)
    else:
        features = jax.jit(partial(model.apply, method="features"))(variables, inputs)
        body = network.vit if name == "vit" else network.resnet
        theirs = body(given)
        pooled = theirs.last_hidden_state[:, 0] if name == "vit" else theirs.pooler_output
        near(features, pooled.flatten(1))

    save(tmp_path / "ours", variables, names.published(config), {})
    written = (tmp_path / "ours" / "model.safetensors").read_bytes()
    assert written == (tmp_path / "theirs" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("token", [True, False])
def test_vision_transformers_of_timm(tmp_path, token):
    timm = pytest.importorskip("timm")
    options = {"global_pool": "token"} if token else {"global_pool": "avg", "fc_norm": False}
    network = timm.create_model(
        "vit_base_patch16_224",
        img_size=SIZE,
        patch_size=8,
        embed_dim=128,
        depth=2,
        num_heads=2,
        num_classes=CLASSES,
        class_token=token,
        **options,
    )
    perturbed(network)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    images = np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32)
    create = lambda config, flags: config.create(CLASSES)  # noqa: E731
    path = tmp_path / "model.pth"
    _, model, variables = read(path, vit_names, ViTConfig, create, jnp.asarray(images))
    expected = network.double()(torch.tensor(images).permute(0, 3, 1, 2).double())
    near(jax.jit(model.apply)(variables, images), expected)


def test_files_of_torch_are_read_as_torch_reads_them(tmp_path):
    tensor = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "a": tensor,
        "view": tensor.T[1:],
        "half": tensor.half(),
        "bfloat16": tensor.bfloat16(),
        "parameter": torch.nn.Parameter(tensor[:2]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "norm": torch.nn.BatchNorm1d(3).state_dict(),
    }
    for number, options in enumerate(
        ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4})
    ):
        path = tmp_path / f"{number}.pt"
        torch.save(
            {"state_dict": state, "epoch": 3, "args": [1, "a", (2.5, None)]}, path, **options
        )
        weights = open_weights(path)
        flat = {name: t for name, t in state.items() if name != "norm"}
        flat |= {f"norm.{name}": tensor for name, tensor in state["norm"].items()}
        assert weights.keys() == flat.keys()
        for name, expected in flat.items():
            found = weights[name].read()
            assert str(found.dtype) == str(expected.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(found.astype(float), expected.detach().double().numpy())
