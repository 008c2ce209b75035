"""ViT against torchvision's VisionTransformer, two blocks, from the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.vit import ViT
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
torchvision = pytest.importorskip("torchvision.models.vision_transformer")
pytestmark = pytest.mark.parity

WIDTH, DEPTH, HEADS, PATCH, CLASSES = 48, 2, 3, 4, 10


def random_network():
    torch.manual_seed(0)
    network = torchvision.VisionTransformer(
        16, PATCH, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=CLASSES
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".ln" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim == 1 or "head" in name or "token" in name:
                parameter.normal_(0, 0.3)
    return network.double().eval()


def params_of(network, of=lambda parameter: parameter):
    """Our parameters, or what `of` gives for each of torchvision's, say the gradient."""
    named = {
        name: of(parameter).detach().numpy().astype(np.float32)
        for name, parameter in network.named_parameters()
    }

    def dense(name):
        return {"kernel": named[f"{name}.weight"].T, "bias": named[f"{name}.bias"]}

    def norm(name):
        return {"scale": named[f"{name}.weight"], "bias": named[f"{name}.bias"]}

    def attention(name):
        kernels = np.split(named[f"{name}.in_proj_weight"], 3)
        biases = np.split(named[f"{name}.in_proj_bias"], 3)
        parts = zip(("query", "key", "value"), kernels, biases, strict=True)
        made = {part: {"kernel": kernel.T, "bias": bias} for part, kernel, bias in parts}
        return {**made, "out": dense(f"{name}.out_proj")}

    def block(index):
        name = f"encoder.layers.encoder_layer_{index}"
        return {
            "norm1": norm(f"{name}.ln_1"),
            "attention": attention(f"{name}.self_attention"),
            "norm2": norm(f"{name}.ln_2"),
            "linear1": dense(f"{name}.mlp.0"),
            "linear2": dense(f"{name}.mlp.3"),
        }

    kernel = named["conv_proj.weight"].transpose(2, 3, 1, 0).reshape(-1, WIDTH)
    return {
        "embedding": {"kernel": kernel, "bias": named["conv_proj.bias"]},
        "token": named["class_token"][0, 0],
        "positions": {"bias": named["encoder.pos_embedding"][0]},
        **{f"block_{index}": block(index) for index in range(DEPTH)},
        "norm": norm("encoder.ln"),
        "head": dense("heads.head"),
    }


def test_logits_and_gradients_equal_torchvision():
    network = random_network()
    params = params_of(network)
    model = ViT(CLASSES, PATCH, WIDTH, DEPTH, HEADS, pool="token", positions="learned")
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, 16, 16, 3)).astype(np.float32)
    labels = generator.integers(0, CLASSES, 8)
    made = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(images))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)

    def loss(params):
        logits = model.apply({"params": params}, jnp.asarray(images), train=True)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -jnp.mean(chosen), logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
    expected = network(torch.tensor(images).permute(0, 3, 1, 2).double())
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    assert expected.std(dim=0).mean() > 0.01
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    theirs = params_of(network, lambda parameter: parameter.grad)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients, theirs
    )
