"""Published BERT in, fine-tuned classifier out: flags, tokens and weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sentiment import SentimentConfig, build
from jaxmodels.data.text.framing import in_rows
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.models.bert import BertConfig
from jaxmodels.models.bert_names import published, published_config
from jaxmodels.pretrained import open_weights, save
from jaxmodels.train import load_run, main
from tests.experiments.test_sentiment import WORDS, flags_of, sentences, write
from tests.torchvision_shim import allow_torchvision

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT with a tokenizer, as transformers would write them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    path = tmp_path_factory.mktemp("published") / "bert"
    words = [*SPECIAL, *WORDS, "awful", "lovely"]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(SPECIAL))
    frame = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1"}
    tokenizer.post_processor = processors.TemplateProcessing(
        **frame, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Some published tables have more rows than the tokenizer has tokens.
    sizes = {"layers": 1, "width": 16, "heads": 2, "hidden": 24, "token_rows": 20}
    config = BertConfig(**sizes, positions=16)
    model = config.encoder(len(words))
    variables = jax.device_get(model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))
    save(
        path,
        variables,
        published(config, classifier=False),
        published_config(config, 20),
        beside=lambda made: tokenizer.save(str(made / "tokenizer.json")),
    )
    return path


def test_texts_and_pairs_are_framed_as_the_file_says(folder):
    tokenizer = load_tokenizer(folder)
    one, pair, long = tokenizer.framed(
        [("Plot [SEP]",), ("film plot", "Day"), (" ".join(WORDS), "end")], 6
    )
    # What looks like a special token in a text is none.
    assert one.tokens.tolist() == [2, 5, 1, 1, 1, 3]
    assert pair.tokens.tolist() == [2, 4, 5, 3, 13, 3]
    assert pair.segments.tolist() == [0, 0, 0, 0, 1, 1] and not pair.is_cut
    assert long.tokens.tolist() == [2, 4, 5, 3, 8, 3] and long.is_cut
    rows = in_rows([one, pair], 8)
    assert rows["tokens"][:, 6:].tolist() == [[-1, -1]] * 2
    assert rows["segments"][1].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def run(**flags):
    return main(SentimentConfig, build, {}, flags_of(flags))


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory):
    """A run that starts from it, and what it says."""
    path = tmp_path_factory.mktemp("tuned")
    data = write(path / "reviews.tsv", sentences(80))
    flags = {"data": data, "init_from": folder, "steps": 4, "batch_size": 16, "eval_every": 4}
    flags |= {"learning_rate": 3e-3, "dropout": 0, "mesh": "data=1", "workdir": path / "run"}
    assert run(**flags) == 0
    return path / "run"


@pytest.mark.slow
def test_a_run_starts_from_published_weights_and_goes_out_again(tuned, folder, tmp_path, capsys):
    record = json.loads((tuned / "config.json").read_text())
    flags = record["config"]
    expected = {"model": "bert", "layers": 1, "heads": 2, "positions": 16, "token_rows": 20}
    assert {name: flags[name] for name in expected} == expected
    assert record["facts"]["data"]["tokenizer"]["size"] == 16
    start = record["facts"]["start"]
    assert list(start["fresh"]) == ["params/head"]
    loaded = load_run(tuned)
    # Another size than theirs is refused.
    assert run(workdir=tmp_path / "run", init_from=folder, layers=2) == 2
    assert "layers = 2; the weights in" in capsys.readouterr().err
    output = tmp_path / "out"
    assert run(workdir=tuned, mode="export", output=output) == 0
    weights = open_weights(output)
    assert weights.config["id2label"] == {"0": "bad", "1": "good"}
    found = weights["classifier.weight"].read().T
    assert np.array_equal(found, loaded.state["params"]["head"]["kernel"])
    # The folder can be started from as well, and then has nothing fresh.
    assert (
        run(workdir=tmp_path / "again", init_from=output, data=flags["data"], mode="evaluate") == 0
    )
    line = capsys.readouterr().out.splitlines()[-1]
    assert f"test/accuracy={loaded.scores['test']['accuracy']:.5g}" in line


@pytest.mark.parity
def test_transformers_reads_what_is_exported(tuned, tmp_path):
    torch = pytest.importorskip("torch")
    allow_torchvision()
    transformers = pytest.importorskip("transformers")
    assert run(workdir=tuned, mode="export", output=tmp_path / "out") == 0
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "out/tokenizer.json"), pad_token="[PAD]"
    )
    texts = [text for text, _ in sentences(6, seed=3)]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = torch.softmax(theirs.eval()(**given).logits, -1).numpy()
    lines = load_run(tuned).predict(texts)
    found = [[line["probabilities"][name] for name in ("bad", "good")] for line in lines]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_smaller_table_than_the_tokenizer_is_refused(folder):
    with pytest.raises(InputError, match="token_rows = 9; expected the tokenizer's 16"):
        BertConfig(token_rows=9).encoder(load_tokenizer(folder).size)
