"""Text by flags: what is made of it once, and what a run records."""

import json

import numpy as np
import pytest

from jaxmodels.cache import cache_folder
from jaxmodels.data import kept as keeping
from jaxmodels.data.text import (
    ResidentWindows,
    StreamedWindows,
    TextConfig,
    TextData,
    load_text,
    text_from_strings,
)
from jaxmodels.data.text.bpe import train_bpe
from jaxmodels.errors import InputError
from tests.data.text.test_overlap import words
from tests.data.text.test_stored import write_texts
from tests.data.text.test_tokenizers import ENGLISH, texts_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))


def decoded(data, split):
    return data.tokenizer.decode(data.columns[split].tokens)


def test_the_default_needs_no_download_and_is_read_once(capsys):
    config = TextConfig(tokenizer="bpe", vocabulary=300)
    data = load_text(config)
    facts = data.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["name"] == "pydoc" and facts["version"].startswith("python3")
    assert facts["tokenizer"]["size"] == data.tokenizer.size == 300
    assert facts["divided"] == {"by": "documents", "fractions": {"validation": 0.05, "test": 0.05}}
    for split in ("train", "validation", "test"):
        counts = facts["splits"][split]
        assert counts["characters"] == len(decoded(data, split))
        assert counts["bytes"] == len(decoded(data, split).encode())
        assert counts["tokens"] == len(data.columns[split])
        assert facts["cleaning"]["passages"].get(split, {"in_train": 0})["in_train"] == 0
    said = capsys.readouterr().err
    assert "reading" in said and "making the tokenizer bpe of pydoc, once" in said
    keeping._verified.clear()
    again = load_text(config)
    assert capsys.readouterr().err == ""
    assert again.facts() == facts
    np.testing.assert_array_equal(again.columns["test"].tokens, data.columns["test"].tokens)


def test_what_depends_on_a_flag_is_made_anew_and_nothing_else(capsys):
    splits = {"train": [ENGLISH[:4000], ENGLISH[4000:]], "test": "A test."}
    for config, made in [
        (TextConfig(), ["reading", "encoding"]),
        (TextConfig(context=64, stride=8, windows="contiguous"), []),
        (TextConfig(tokenizer="chars"), ["making", "encoding"]),
        (TextConfig(tokenizer="bpe", vocabulary=280), ["making", "encoding"]),
        (TextConfig(tokenizer="bpe", vocabulary=290), ["making", "encoding"]),
        (TextConfig(tokenizer="chars"), []),
        (TextConfig(documents="line"), ["reading", "encoding"]),
    ]:
        text_from_strings(splits, config)
        said = capsys.readouterr().err.splitlines()
        assert list(dict.fromkeys(line.split()[0] for line in said)) == made


def test_damaged_text_and_tokenizers_are_made_anew(capsys):
    config = TextConfig(tokenizer="bpe", vocabulary=280)
    splits = {"train": ENGLISH, "test": "A test."}
    first = text_from_strings(splits, config)
    [folder] = (cache_folder("data")).glob("texts-*")
    for file in ("text/train.txt", "text/facts.json", "tokenizer-bpe-280/tokenizer.json"):
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
    keeping._verified.clear()
    capsys.readouterr()
    again = text_from_strings(splits, config)
    assert capsys.readouterr().err.count("; it is made anew\n") == 2
    assert again.facts() == first.facts()
    np.testing.assert_array_equal(again.columns["train"].tokens, first.columns["train"].tokens)


def test_strings_and_their_splits():
    splits = {"train": ["One.", "Two."], "hard": ["Three.", "Four."], "test": "Five."}
    data = text_from_strings(splits, TextConfig(validation_fraction=0.0), name="mine")
    assert list(data.columns) == ["train", "test", "hard"]
    assert decoded(data, "hard") == "Three.Four." and data.divided == ""
    assert (data.name, data.version) == ("mine", "strings")
    others = [
        text_from_strings(splits, TextConfig(validation_fraction=0.0), name="mine"),
        text_from_strings({**splits, "test": "Six."}, TextConfig(validation_fraction=0.0)),
        text_from_strings({**splits, "train": ["One.Two."]}, TextConfig(validation_fraction=0.0)),
    ]
    assert [other.fingerprint == data.fingerprint for other in others] == [True, False, False]
    assert load_text(TextConfig(), given=data) is data
    array = {"train": np.array(["One.", "Two."]), "hard": np.array(["Three.", "Four."])}
    others = text_from_strings({**splits, **array}, TextConfig(validation_fraction=0.0))
    assert others.fingerprint == data.fingerprint


@pytest.mark.usefixtures("unchecked")
def test_what_is_given_in_place_of_text():
    for given, said in [
        ({"train": [1]}, r"has a int as document 0; expected strings"),
        ({"test": ["a"]}, "no training split; expected 'train'"),
        ({"train": []}, "has no document"),
        ({"train": ["", " \n"]}, "no text in its training split"),
        ({"train": "ab", "test": "c"}, "too few to divide"),
    ]:
        with pytest.raises(InputError, match=said):
            text_from_strings(given)
    with pytest.raises(InputError, match=r"data is a ndarray; expected text_from_strings"):
        load_text(TextConfig(), given=np.zeros(3))


def test_bad_documents_are_refused_or_skipped(capsys):
    leaked = words(1, 90)
    splits = {"train": [leaked, "\ud800", ENGLISH], "test": [leaked, ENGLISH[500:900]]}
    with pytest.raises(InputError, match=r"2 bad records \(1 duplicate, 1 undecodable\).*iconv"):
        text_from_strings(splits)
    data = text_from_strings(splits, TextConfig(skip_bad_records=2, validation_fraction=0.0))
    assert decoded(data, "train") == ENGLISH
    assert data.facts()["skipped"]["count"] == 2
    said = capsys.readouterr().err
    assert "note: skipped 2 bad records" in said
    assert "in 1 documents; --drop-repeated leaves these out" in said


def test_lines_of_wikitext_have_its_own_words(tmp_path):
    lines = [" = Title = ", " ", " The <unk> sat . ", "", " The end . "]
    write_texts(tmp_path, "wiki", {"train": lines, "validation": lines[2:], "test": lines[:3]})
    data = load_text(TextConfig(data="wiki", data_dir=str(tmp_path), tokenizer="words"))
    facts = data.facts()
    assert facts["documents"] == "joined" and facts["defines_words"] and not data.divided
    count = sum(len(line.split()) + 1 for line in lines[:3])
    assert facts["splits"]["test"]["words"] == count
    # Every word is scored, the first one too, because the column begins with <eos>.
    assert len(data.columns["test"]) == 1 + count
    assert facts["splits"]["test"]["bytes"] == sum(len(line) + 1 for line in lines[:3])


def test_a_published_tokenizer_and_one_that_loses_text(tmp_path, capsys):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    train_bpe(texts_of(tmp_path, ENGLISH), 300).save(tmp_path)
    splits = {"train": ENGLISH, "test": "A test."}
    data = text_from_strings(splits, TextConfig(tokenizer=str(tmp_path), validation_fraction=0.0))
    assert (data.tokenizer.size, data.tokenizer.end) == (300, 0)
    assert decoded(data, "train") == ENGLISH and "bits per byte" not in capsys.readouterr().err
    lossy = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, "[UNK]"))
    lossy.normalizer, lossy.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    lossy.save(str(tmp_path / "lossy.json"))
    data = text_from_strings(splits, TextConfig(tokenizer=str(tmp_path / "lossy.json")))
    assert data.tokenizer.end is None and "bits per byte do not compare" in capsys.readouterr().err
    assert "has only" not in capsys.readouterr().err
    text_from_strings(splits, TextConfig(tokenizer="bpe", vocabulary=100_000))
    assert (
        "note: vocabulary = 100000; the training text of 'texts' has only"
        in capsys.readouterr().err
    )


def test_sources_by_flags(monkeypatch):
    splits = {"train": [ENGLISH], "test": ["A test."]}
    for loading, limit, kind in [
        ("auto", 1 << 30, ResidentWindows),
        ("auto", 1 << 10, StreamedWindows),
        ("streamed", 1 << 30, StreamedWindows),
        ("resident", 1 << 10, ResidentWindows),
    ]:
        monkeypatch.setattr("jaxmodels.data.loading.memory_of_device", lambda limit=limit: limit)
        config = TextConfig(loading=loading, context=32, stride=4)
        data = text_from_strings(splits, config)
        assert isinstance(data, TextData) and type(data.source("train")) is kind
        assert {*data.source("test", documents=True).spec(2)} == {"tokens", "scored", "document"}
        assert data.source("validation").context == 32
    assert text_from_strings(splits, TextConfig(context=64)).stride == 64
    with pytest.raises(InputError, match="context = 95000; the training split has"):
        text_from_strings(splits, TextConfig(context=95_000)).source("train")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"context": 0}, "context = 0; expected at least 1"),
        ({"stride": -1}, "stride = -1; expected at least 0"),
        ({"stride": 300}, "stride = 300; expected at most context = 256"),
        ({"vocabulary": 256}, r"vocabulary = 256; expected 257"),
        ({"tokenizer": "char"}, r"tokenizer = char; did you mean 'chars'\?"),
        ({"tokenizer": "./nothing.json"}, r"tokenizer = nothing\.json; .* cannot be read"),
        ({"skip_bad_records": -1}, "skip_bad_records = -1"),
        ({"validation_fraction": 1.0}, "validation_fraction = 1.0"),
        ({"documents": "words"}, "unknown documents 'words'"),
        ({"windows": "rand"}, "unknown windows 'rand'"),
        ({"loading": "disk"}, "unknown loading 'disk'"),
        ({"data": "pydok"}, "unknown data 'pydok'; did you mean 'pydoc'"),
        ({"tokenizer": "words"}, "tokenizer = words; the text has the word"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_flags_that_are_refused(flags, said, tmp_path):
    with pytest.raises(InputError, match=said):
        load_text(TextConfig(data_dir=str(tmp_path), **flags))
