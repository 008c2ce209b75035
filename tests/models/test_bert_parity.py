"""BERT and RoBERTa against transformers: streams, pooled tokens, logits, gradients, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.bert import BertConfig
from jaxmodels.models.bert_names import flags_from_published, published, published_config
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.pretrained import load, open_weights
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
save_file = pytest.importorskip("safetensors.torch").save_file
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("float64")]

WORDS, LENGTH, CLASSES = 31, 9, 3
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 14,
    "attn_implementation": "eager",
    "num_labels": CLASSES,
}
VALID = np.arange(LENGTH) < np.array([[9], [5], [2]])


def network_of(name):
    """One of their networks in float64, with every parameter moved away from its initial value."""
    torch.manual_seed(0)
    is_bert = name.startswith("Bert")
    own = {"type_vocab_size": 2 if is_bert else 1, "pad_token_id": 0 if is_bert else 1}
    kind = transformers.BertConfig if is_bert else transformers.RobertaConfig
    network = getattr(transformers, name)(kind(**SIZES, **own)).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def written(network, folder):
    """Their weights and config.json, as they save them."""
    named = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(named, folder / "model.safetensors", {"format": "pt"})
    network.config.to_json_file(folder / "config.json")
    return open_weights(folder)


def config_of(weights):
    flags = flags_from_published(weights)
    assert flags.pop("model") == "bert"
    return BertConfig(**flags)


def inputs():
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, WORDS, (3, LENGTH))
    segments = np.where(np.arange(LENGTH) >= 3, 1, 0) * VALID
    return tokens, segments


def theirs_of(network, tokens, segments, roberta):
    padding = 1 if roberta else 0
    ids = torch.tensor(np.where(VALID, tokens, padding))
    kinds = torch.tensor(np.zeros_like(segments) if roberta else segments)
    return network(input_ids=ids, attention_mask=torch.tensor(VALID), token_type_ids=kinds)


def near(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * 0.1)


@pytest.mark.parametrize("name", ["BertModel", "RobertaModel"])
def test_streams_pooled_tokens_and_gradients_equal_transformers(name, tmp_path):
    network = network_of(name)
    weights = written(network, tmp_path)
    config = config_of(weights)
    model = config.encoder(WORDS, jnp.float64)
    tokens, segments = inputs()
    shown = jnp.minimum(segments, config.segments - 1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, segments=shown)
    table = published(config, classifier=False)
    variables = load(weights, table, jax.tree.map(lambda x: x.update(dtype=jnp.float64), shapes))
    arrays = jnp.asarray(tokens), {"segments": shown, "valid": jnp.asarray(VALID)}

    def outputs(variables):
        x = model.apply(variables, arrays[0], **arrays[1])
        return x, model.apply(variables, x, method="pooled")

    def loss(variables):
        x, pooled = outputs(variables)
        return jnp.sum(jnp.sin(x[VALID])) + jnp.sum(jnp.sin(pooled))

    out = theirs_of(network, tokens, segments, config.roberta)
    mask = torch.tensor(VALID)
    torch.sin(out.last_hidden_state[mask]).sum().add(torch.sin(out.pooler_output).sum()).backward()
    x, pooled = outputs(variables)
    near(x[VALID], out.last_hidden_state.detach().numpy()[VALID])
    near(pooled, out.pooler_output.detach().numpy())
    gradients = jax.grad(loss)(variables)
    with torch.no_grad():
        for parameter in network.parameters():
            # RoBERTa's row of the padding token has no gradient there, ours does not look it up.
            parameter.copy_(parameter.grad)
    expected = load(
        written(network, tmp_path),
        table,
        jax.tree.map(lambda x: x.update(dtype=jnp.float64), shapes),
    )
    jax.tree.map(near, gradients, expected)
    # What stands at padding has no effect, to the bit.
    other = jnp.where(VALID, tokens, 7)
    again = model.apply(variables, other, **arrays[1])
    assert np.array_equal(again[VALID], x[VALID])


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_logits_of_classifiers_equal_transformers_and_go_back(kind, tmp_path):
    network = network_of(f"{kind}ForSequenceClassification")
    weights = written(network, tmp_path)
    config = config_of(weights)
    model = config.create(CLASSES, WORDS, jnp.float64, scan_layers="on")
    tokens, segments = inputs()
    text = TextInput(jnp.where(VALID, tokens, -1), jnp.asarray(segments))
    shapes = jax.eval_shape(model.init, jax.random.key(0), text)
    shapes = jax.tree.map(lambda x: x.update(dtype=jnp.float64), shapes)
    table = published(config)
    variables = load(weights, table, shapes)
    logits = model.apply(variables, text)
    near(logits, theirs_of(network, tokens, segments, config.roberta).logits.detach().numpy())
    # The encoder alone reads the same file.
    encoder = config.encoder(WORDS, jnp.float64)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), text.ids)
    if kind == "Bert":
        load(weights, published(config, classifier=False), shapes)
    found = published_config(config, WORDS, ("a", "b", "c"))
    theirs = network.config.to_dict()
    assert {name: theirs.get(name, found[name]) for name in found} | {
        "architectures": found["architectures"],
        "id2label": found["id2label"],
        "label2id": found["label2id"],
    } == found
