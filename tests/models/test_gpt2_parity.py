"""GPT-2 against transformers' GPT2LMHeadModel: logits, gradients, and a step of AdamW."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.gpt2_names import published
from jaxmodels.models.language_models import create_language_model
from jaxmodels.ops import head_cross_entropy
from jaxmodels.pretrained import load
from tests.pretrained.theirs import weights_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

WORDS, CONTEXT, WIDTH, LAYERS, HEADS = 31, 12, 24, 2, 3
RATE, DECAY = 1e-2, 0.1


@pytest.fixture
def network():
    """Their model in float64, with every parameter moved away from its initial value."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
    )
    network = transformers.GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def params_of(network, of=lambda parameter: parameter):
    """Our parameters, or what `of` gives for each of theirs, say the gradient."""
    config = GPT2Config(layers=LAYERS, width=WIDTH, heads=HEADS)
    shapes = jax.eval_shape(model_of().init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), shapes)
    return load(weights_of(network, of), published(config), shapes)["params"]


def model_of():
    options = {"layers": LAYERS, "width": WIDTH, "heads": HEADS}
    return create_language_model("gpt2", WORDS, CONTEXT, jnp.float64, **options)


def near(ours, theirs, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 0.1),
        ours,
        theirs,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scan", ["on", "off"])
def test_logits_gradients_and_one_step_of_adamw_equal_transformers(network, scan):
    generator = np.random.default_rng(0)
    tokens = jnp.asarray(generator.integers(0, WORDS, (2, CONTEXT)))
    model = model_of().clone(scan_layers=scan)
    params = params_of(network)

    def loss(params):
        hidden, kernel = model.apply({"params": params}, tokens, method="hidden_and_head")
        inputs = hidden[:, :-1], kernel, tokens[:, 1:]
        return head_cross_entropy(*inputs, block=8, tied=True).total / inputs[2].size

    logits = model.apply({"params": params}, tokens)
    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    rule = optax.adamw(RATE, b1=0.9, b2=0.95, eps=1e-8, weight_decay=DECAY)
    updates, _ = rule.update(gradients, rule.init(params), params)

    ids = torch.tensor(np.asarray(tokens))
    network.zero_grad()
    out = network(ids).logits  # their loss rounds the logits to float32
    expected = torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()
    near(logits, out.detach().numpy())
    near(value, expected.item())
    near(gradients, params_of(network, lambda parameter: parameter.grad))
    adamw = torch.optim.AdamW(
        network.parameters(), lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY
    )
    adamw.step()
    near(optax.apply_updates(params, updates), params_of(network))
