"""Llama-like decoders against transformers: logits, gradients, and what a cache gives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models import llama_names
from jaxmodels.models.language_models import (
    LanguageModels,
    create_language_model,
    flags_from_published,
    published_names,
)
from jaxmodels.models.options import with_options
from jaxmodels.ops import head_cross_entropy
from jaxmodels.pretrained import load, open_weights, save
from tests.ops.compiling import quick_jit
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

llama_theirs = pytest.importorskip("tests.models.llama_theirs")
CASES, CONTEXT, WORDS = llama_theirs.CASES, llama_theirs.CONTEXT, llama_theirs.WORDS
near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_logits_gradients_and_cache_equal_transformers(case):
    network = llama_theirs.their_model(transformers, case)
    model = create_language_model("llama", WORDS, CONTEXT, **llama_theirs.SIZES, **CASES[case][0])
    params = llama_theirs.params_of(network)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, WORDS, (2, CONTEXT)))
    made = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)

    def loss(params):
        hidden, kernel = model.apply({"params": params}, tokens, method="hidden_and_head")
        inputs = hidden[:, :-1], kernel, tokens[:, 1:]
        return head_cross_entropy(*inputs, block=8, tied=model.tied).total / inputs[2].size

    value, gradients = quick_jit(jax.value_and_grad(loss))(params)
    ids = torch.tensor(np.asarray(tokens)).long()
    expected = network(ids).logits
    their_loss = torch.nn.functional.cross_entropy(
        expected[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    )
    their_loss.backward()
    expected = expected.detach().numpy()
    assert expected.std() > 0.5
    near(quick_jit(model.apply)({"params": params}, tokens), expected)
    near(value, their_loss.item())
    theirs = llama_theirs.params_of(network, lambda parameter: parameter.grad)
    jax.tree.map(near, gradients, theirs)

    step = quick_jit(partial(model.apply, method="decode"))
    cache = model.empty_cache(2, CONTEXT)
    logits, cache = step({"params": params}, tokens[:, :5], cache, np.int32([0, 0]))
    near(logits, expected[:, :5])
    for place in range(5, CONTEXT):
        start = np.int32([place, place])
        logits, cache = step({"params": params}, tokens[:, place : place + 1], cache, start)
        near(logits[:, 0], expected[:, place])


@pytest.mark.parametrize("case", CASES)
def test_folders_of_transformers_are_read_and_written(case, tmp_path):
    network = llama_theirs.their_model(transformers, case)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    network.save_pretrained(theirs)
    weights = open_weights(theirs)
    flags = flags_from_published(weights)
    assert (flags.pop("model"), flags.pop("context")) == ("llama", 64)
    models = with_options(LanguageModels(model="llama"), **flags)
    tokens = jnp.zeros((1, 2), jnp.int32)
    model = models.create(WORDS, 64)
    shapes = {"params": jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]}
    found = load(weights, published_names(models, weights), shapes)
    expected = llama_theirs.params_of(network)
    jax.tree.map(np.testing.assert_array_equal, found["params"], expected)
    config = llama_names.published_config(models.llama, WORDS, 64)
    save(ours, found, llama_names.published(models.llama), config)
    written, read = ((one / "model.safetensors").read_bytes() for one in (ours, theirs))
    assert written == read
    other = transformers.AutoModelForCausalLM.from_pretrained(ours, attn_implementation="eager")
    assert type(other) is type(network)
    ids = torch.arange(CONTEXT)[None]
    with torch.inference_mode():
        near(other(ids).logits.numpy(), network(ids).logits.numpy())
