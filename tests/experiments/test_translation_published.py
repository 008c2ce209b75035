"""Marian and T5 as published: translating with their weights, training on, and handing them on."""

import json

import jax
import numpy as np
import pytest

from experiments.translation import PRESETS, TranslationConfig, build
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.models import marian_names, t5_names
from jaxmodels.models.marian import MarianConfig
from jaxmodels.models.t5 import T5Config
from jaxmodels.pretrained import save
from jaxmodels.train import main
from tests.data.text.test_sentencepieces import ENGLISH, FRENCH, marian_folder, t5_folder
from tests.experiments.test_translation import flags_of
from tests.marks import campaign

pytestmark = pytest.mark.slow
SIZES = {"layers": 1, "decoder_layers": 1, "width": 16, "heads": 2, "hidden": 24}
MODELS = {
    "marian": (MarianConfig(**SIZES, context=32), marian_names, marian_folder),
    "t5": (T5Config(**SIZES, head_size=8, gated=True, tied=False), t5_names, t5_folder),
}


def run(**flags):
    return main(TranslationConfig, build, PRESETS, flags_of(flags))


@pytest.fixture(params=["marian", campaign("t5")])
def published(request, tmp_path):
    """A folder of random weights with their tokenizer, as transformers has them."""
    config, names, tokenizer_folder = MODELS[request.param]
    (tmp_path / "tokenizer").mkdir()
    tokenizer = load_tokenizer(tokenizer_folder(tmp_path / "tokenizer"))
    rows = tokenizer.size + (5 if request.param == "t5" else 0)  # as its files have
    tokens = jax.ShapeDtypeStruct((1, 1), np.int32)
    shapes = jax.eval_shape(config.create(rows).init, jax.random.key(0), tokens, tokens)
    generator = np.random.default_rng(0)
    tree = jax.tree.map(lambda x: generator.normal(0, 0.3, x.shape).astype(x.dtype), shapes)
    around = {"begin": tokenizer.padding, "end": tokenizer.end, "padding": tokenizer.padding}
    written = names.published_config(config, rows, **around)
    save(
        tmp_path / "weights",
        tree,
        names.published(config),
        written,
        beside=tokenizer.save_published,
    )
    return tmp_path / "weights"


def test_published_weights_translate_train_and_are_handed_on(published, tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}\t{b}\n" for a, b in zip(3 * ENGLISH, 3 * FRENCH)))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(ENGLISH))
    common = {"data": pairs, "mesh": "data=1", "validation_fraction": 0, "test_fraction": 0}
    common |= {"workdir": tmp_path / "run", "skip_bad_records": 9}
    start = {"init_from": published, "length": 48, "batch_size": 3}

    lines = tmp_path / "lines.jsonl"
    predicts = {"mode": "predict", "input": text, "output": lines}
    assert run(**common, **start, **predicts) == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["input"] for one in found] == ENGLISH
    assert all(isinstance(one["output"], str) for one in found)
    before = [one["output"] for one in found]

    again = tmp_path / "again"
    assert run(**common, **start, mode="export", output=again, format="safetensors") == 0
    for file in ("model.safetensors", "config.json"):
        assert (again / file).read_bytes() == (published / file).read_bytes()
    for file in published.iterdir():
        assert (again / file.name).is_file()

    steps = {"steps": 10, "log_every": 10, "eval_every": 10, "dropout": 0.1}
    assert run(**common, **start, **steps, learning_rate=0.01) == 0
    lines.unlink()
    assert run(workdir=tmp_path / "run", **predicts, beams=3) == 0
    after = [json.loads(line)["output"] for line in lines.read_text().splitlines()]
    assert after != before and len(after) == len(ENGLISH)
