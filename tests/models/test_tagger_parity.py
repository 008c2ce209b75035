"""Taggers against transformers' BertForTokenClassification and RoBERTa's: in, out, and labels."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.bert_names import for_labels, published, published_config
from jaxmodels.models.taggers import TaggerModels
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.pretrained import load, open_weights, save
from tests.models.test_bert_parity import (
    CLASSES,
    VALID,
    WORDS,
    config_of,
    inputs,
    near,
    network_of,
    theirs_of,
    torch,
    transformers,
    written,
)

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("float64")]
NAMES = ("O", "B-X", "I-X")


def read(weights, config, table=None):
    """The model of weights, and its variables in float64."""
    model = TaggerModels(model="bert", bert=config).create(CLASSES, WORDS, jnp.float64)
    tokens, segments = inputs()
    text = TextInput(jnp.where(VALID, tokens, -1), jnp.asarray(segments))
    shapes = jax.eval_shape(model.init, jax.random.key(0), text)
    shapes = jax.tree.map(lambda x: x.update(dtype=jnp.float64), shapes)
    variables = load(weights, table or published(config, tagger=True), shapes)
    return model, variables, text


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_logits_of_taggers_equal_transformers_and_go_back(kind, tmp_path):
    network = network_of(f"{kind}ForTokenClassification")
    weights = written(network, tmp_path)
    config = config_of(weights)
    model, variables, text = read(weights, config)
    tokens, segments = inputs()
    theirs = theirs_of(network, tokens, segments, config.roberta).logits.detach().numpy()
    near(np.asarray(model.apply(variables, text))[VALID], theirs[VALID])
    # What is written is what they wrote, and loads there.
    config_json = published_config(config, WORDS, NAMES, tagger=True)
    save(tmp_path / "out", variables, published(config, tagger=True), config_json)
    ours = (tmp_path / "out/model.safetensors").read_bytes()
    assert ours == (tmp_path / "model.safetensors").read_bytes()
    again = transformers.AutoModelForTokenClassification.from_pretrained(
        tmp_path / "out", dtype=torch.float64, attn_implementation="eager"
    )
    assert again.config.id2label == dict(enumerate(NAMES))
    found = theirs_of(again.eval(), tokens, segments, config.roberta).logits.detach().numpy()
    near(found[VALID], theirs[VALID], 1e-12)


def test_a_head_follows_the_order_of_the_tags_or_stays_out(tmp_path):
    network = network_of("BertForTokenClassification")
    network.config.id2label = dict(enumerate(NAMES))
    weights = written(network, tmp_path)
    config = config_of(weights)
    table = published(config, tagger=True)
    assert for_labels(table, weights, NAMES) is table
    assert for_labels(table, replace(weights, config={}), ("a", "b", "c")) is table
    model, variables, text = read(weights, config)
    logits = model.apply(variables, text)
    order = [2, 0, 1]
    names = [NAMES[at] for at in order]
    moved = for_labels(table, weights, names)
    _, others, _ = read(weights, config, moved)
    near(model.apply(others, text), logits[..., np.array(order)])
    save(tmp_path / "out", others, moved, {})
    back = open_weights(tmp_path / "out")
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_array_equal(back[name].read(), weights[name].read())
    # Of other tags, the head is nobody's.
    fresh = for_labels(table, weights, ("O", "B-X", "I-Y"))
    assert len(fresh.entries) == len(table.entries) - 2
    assert all(not entry.name.startswith("classifier") for entry in fresh.entries)
