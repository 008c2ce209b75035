"""ViT against torchvision's VisionTransformer, two blocks, from the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.models.vit import ViT, ViTConfig
from jaxmodels.models.vit_names import published
from tests.pretrained.theirs import variables_of
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


MODEL = ViT(CLASSES, PATCH, WIDTH, DEPTH, HEADS, pool="token", positions="learned")
CONFIG = ViTConfig(
    patch=PATCH, width=WIDTH, depth=DEPTH, heads=HEADS, pool="token", positions="learned"
)


def params_of(network, of=lambda parameter: parameter):
    """Our parameters, or what `of` gives for each of torchvision's, say the gradient."""
    table = published(CONFIG, style="torchvision")
    return variables_of(network, table, MODEL, jnp.zeros((1, 16, 16, 3)), of)["params"]


def test_logits_gradients_and_a_step_of_adamw_equal_torchvision():
    network = random_network()
    params = params_of(network)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, 16, 16, 3)).astype(np.float32)
    labels = generator.integers(0, CLASSES, 8)

    def loss(params):
        logits = MODEL.apply({"params": params}, jnp.asarray(images), train=True)
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
    # An epsilon above the rounding of gradients, which a step would otherwise bring to size 1.
    rule = optax.adamw(0.01, eps=1e-3, weight_decay=0.1)
    updates, _ = rule.update(gradients, rule.init(params), params)
    torch.optim.AdamW(network.parameters(), 0.01, eps=1e-3, weight_decay=0.1).step()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        optax.apply_updates(params, updates),
        params_of(network),
    )
