"""Published BERT in, fine-tuned tagger out; published taggers as they are."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.token_classification import TokenClassificationConfig, build
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.models.bert import BertConfig
from jaxmodels.models.bert_names import published, published_config
from jaxmodels.models.taggers import TaggerModels
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.pretrained import open_weights, save
from jaxmodels.train import load_run, main
from tests.data.tagged.test_tagged import write
from tests.experiments.test_sentiment import flags_of
from tests.experiments.test_sentiment_published import folder as encoder  # noqa: F401
from tests.experiments.test_token_classification import sentences
from tests.torchvision_shim import allow_torchvision

pytestmark = pytest.mark.slow
NAMES = ("O", "B-LOC", "I-LOC", "B-PER")


def run(**flags):
    return main(TokenClassificationConfig, build, {}, flags_of(flags))


def test_a_run_starts_from_an_encoder_and_leaves_as_a_tagger(encoder, tmp_path, capsys):  # noqa: F811
    data = write(tmp_path / "notes.jsonl", sentences(80))
    flags = {"data": data, "init_from": encoder, "steps": 4, "batch_size": 16, "eval_every": 4}
    flags |= {"learning_rate": 3e-3, "dropout": 0, "mesh": "data=1", "workdir": tmp_path / "run"}
    assert run(**flags) == 0
    start = json.loads((tmp_path / "run/config.json").read_text())["facts"]["start"]
    assert list(start["fresh"]) == ["params/head"]
    assert run(workdir=tmp_path / "run", mode="export", output=tmp_path / "out") == 0
    weights = open_weights(tmp_path / "out")
    assert weights.config["architectures"] == ["BertForTokenClassification"]
    assert list(weights.config["label2id"]) == list(NAMES)
    loaded = load_run(tmp_path / "run")
    lines = loaded.predict([["we", "met", "plot"], ["in"]])
    # The folder alone tags, and trains on other tags with a fresh head.
    (tmp_path / "new.txt").write_text("we met plot\nin\n")
    alone = {"init_from": tmp_path / "out", "workdir": tmp_path / "alone", "mode": "predict"}
    alone["mesh"] = "data=1"
    assert run(**alone, input=tmp_path / "new.txt", output=tmp_path / "new.jsonl") == 0
    found = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert [line["tags"] for line in found] == [line["tags"] for line in lines]
    assert run(**{**alone, "mode": "evaluate", "data": "none"}) == 2
    assert "data = none has no sentences: name others" in capsys.readouterr().err
    other = [(words, [tag.replace("LOC", "ORG") for tag in tags]) for words, tags in sentences(40)]
    flags |= {"data": write(tmp_path / "other.jsonl", other), "init_from": tmp_path / "out"}
    assert run(**{**flags, "steps": 1, "eval_every": 1, "workdir": tmp_path / "other"}) == 0
    start = json.loads((tmp_path / "other/config.json").read_text())["facts"]["start"]
    assert list(start["fresh"]) == ["params/head"]


@pytest.mark.parity
def test_transformers_tags_as_we_do(encoder, tmp_path):  # noqa: F811
    torch = pytest.importorskip("torch")
    allow_torchvision()
    transformers = pytest.importorskip("transformers")
    tokenizer = load_tokenizer(encoder)
    sizes = {"layers": 1, "width": 16, "heads": 2, "hidden": 24, "token_rows": 20}
    config = BertConfig(**sizes, positions=16, deviation=0.5)
    model = TaggerModels(model="bert", bert=config).create(len(NAMES), tokenizer.size)
    text = TextInput(*jnp.zeros((2, 1, 4), jnp.int32))
    variables = model.init(jax.random.key(0), text)
    theirs_json = published_config(config, 20, NAMES, tagger=True)
    table = published(config, tagger=True)
    save(tmp_path / "out", variables, table, theirs_json, beside=tokenizer.save)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "out").eval()
    pieces = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "out/tokenizer.json"), pad_token="[PAD]"
    )
    words = [["film", "strange", "plot"], ["day"]]
    given = pieces(words, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**given).logits.numpy()
    text = TextInput(
        jnp.asarray(np.where(given["attention_mask"], given["input_ids"], -1)),
        jnp.zeros(given["input_ids"].shape, jnp.int32),
    )
    ours = model.apply(variables, text)
    valid = given["attention_mask"].numpy().astype(bool)
    np.testing.assert_allclose(np.asarray(ours)[valid], logits[valid], atol=1e-5)
    # And as a command, word for word.
    (tmp_path / "new.txt").write_text("\n".join(map(" ".join, words)))
    flags = {"init_from": tmp_path / "out", "workdir": tmp_path / "run", "mode": "predict"}
    flags["mesh"] = "data=1"
    assert run(**flags, input=tmp_path / "new.txt", output=tmp_path / "new.jsonl") == 0
    found = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    for row, line in enumerate(found):
        first = {word: at for at, word in reversed([*enumerate(given.word_ids(row))])}
        expected = [NAMES[logits[row, first[at]].argmax()] for at in range(len(words[row]))]
        assert line["tags"] == expected
