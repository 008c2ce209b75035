"""Documents from files to rows: bad ones of every kind, splits, several summaries, lines."""

import gzip
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.documents import DocumentConfig, load_documents
from jaxmodels.data.documents.document_data import DocumentReader
from jaxmodels.data.documents.loading import documents_elsewhere
from jaxmodels.data.documents.reports import reports
from jaxmodels.errors import InputError
from tests.tfds_folder import serialized, write_dataset

GOOD = [(f"Report {n} came. The mill {n} stopped.", f"Mill {n} stopped.") for n in range(40)]


def load(path, **flags):
    return load_documents(DocumentConfig(data=str(path), **flags))


def lines_of(path, rows):
    content = b"".join(row if isinstance(row, bytes) else told(row) for row in rows)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def told(row):
    name = "summary" if isinstance(row[1], str) else "summaries"
    return json.dumps({"document": row[0], name: row[1]}).encode() + b"\n"


def test_bad_documents_of_every_kind_are_named_and_left_out(tmp_path, capsys):
    lines_of(
        tmp_path / "train.jsonl",
        [
            *GOOD,
            b'{"document": "caf\xe9", "summary": "x"}\n',
            ("  ", "nothing"),
            ("long " * 30, "long"),
            ("no summary", []),
            ("an empty summary", ["fine", " "]),
            b'{"document": "no summary either"}\n',
            b"not JSON\n",
            b"[1]\n",
            ("half of a pair \ud800", "x"),
            ("in two splits", "one"),
            (GOOD[4][0], "repeats"),
        ],
    )
    lines_of(tmp_path / "test.jsonl", [("in two  splits ", "two"), ("another", "one")])
    flags = {"longest": 100, "validation_fraction": 0.0}
    with pytest.raises(InputError) as raised:
        load(tmp_path, **flags)
    told = str(raised.value)
    for reason in (
        "train.jsonl:41 is no UTF-8: ",
        "train.jsonl:42 has no visible character",
        "train.jsonl:43 has 149 characters; expected at most 100",
        "train.jsonl:44 has no summary",
        "train.jsonl:45 has a summary that has no visible character",
        "train.jsonl:46 has no text 'summary', nor a list of texts",
        "train.jsonl:47 is no JSON: ",
        "train.jsonl:48 is no JSON object",
        "train.jsonl:49 is no UTF-8: ",
        "train.jsonl:50 has the same document as test.jsonl:1",
        "--skip-bad-records 10",
    ):
        assert reason in told
    data = load(tmp_path, skip_bad_records=10, **flags)
    assert data.sizes == {"train": 41, "test": 2}
    assert data.facts()["skipped"]["count"] == 10
    assert data.cleaning["repeated"] == {"train": {"count": 1, "records": ["train.jsonl:51"]}}
    assert "skipped 10 bad records" in capsys.readouterr().err


def test_documents_are_named_by_their_lines(tmp_path):
    path = lines_of(tmp_path / "all.jsonl", [GOOD[0], b"\n  \n", GOOD[1]])
    data = load(path, validation_fraction=0.0, test_fraction=0.0)
    assert list(data.splits["train"].keys) == ["all.jsonl:1", "all.jsonl:4"]


def test_a_file_is_divided_by_content_and_an_example_is_a_pair(tmp_path):
    rows = [*GOOD, ("Two are told.", ["First.", "Second."])]
    data = load(lines_of(tmp_path / "all.jsonl.gz", rows))
    assert sum(data.sizes.values()) == 41 and set(data.sizes) == {"train", "validation", "test"}
    again = load(lines_of(tmp_path / "all.jsonl.gz", rows[::-1]))
    for split, some in data.splits.items():
        assert sorted(some.texts) == sorted(again.splits[split].texts)
    whole = load_documents(
        DocumentConfig(validation_fraction=0.0, test_fraction=0.0), {"train": rows}
    )
    assert whole.source("train").size == 42
    _, summaries, keys = whole.splits["train"].pairs(every=True)
    assert summaries[-2:] == ["First.", "Second."] and keys[-2:] == ["40", "40#1"]
    assert whole.splits["train"].sentences[0] == ("Report 0 came.", "The mill 0 stopped.")
    few = load_documents(
        DocumentConfig(evaluated=1), {"train": rows, "test": [("c", "d"), ("e", "f")]}
    )
    assert few.sizes["test"] == 1
    with pytest.raises(InputError, match="expected 0"):
        load_documents(DocumentConfig(test_fraction=0.5), {"train": rows, "test": [("a", "b")]})


def test_tfds_with_sequences_or_texts(tmp_path):
    sequence = tfds.features.Sequence(tfds.features.Text())
    texts = tfds.features.Text()
    several = [
        serialized({"source": [b"One here.", b"Two  here."], "target": [b"A.", b"B."]}),
        serialized({"source": [b"Three."], "target": [b"C."]}),
    ]
    write_dataset(tmp_path, "papers", {"source": sequence, "target": sequence}, {"train": several})
    flags = {"data_dir": str(tmp_path), "validation_fraction": 0.0, "test_fraction": 0.0}
    data = load("papers", **flags)
    assert data.splits["train"].sentences[0] == ("One here.", "Two here.")
    assert data.splits["train"].summaries[0] == ("A.", "B.")
    one = [serialized({"article": [b"Some news. More."], "highlights": [b"News."], "id": [b"1"]})]
    features = {"article": texts, "highlights": texts, "id": texts}
    write_dataset(tmp_path, "news", features, {"train": one})
    data = load("news", **flags)
    assert data.splits["train"].sentences == [("Some news.", "More.")]
    with pytest.raises(InputError, match="--summary-column NAME"):
        write_dataset(tmp_path, "other", {"article": texts}, {"train": one})
        load("other", **flags)


@pytest.mark.slow
def test_reports_tell_of_the_gravest_trouble_in_words_that_only_copying_knows():
    found = reports()
    some = {split: records.read(range(60)) for split, records in found.splits.items()}
    given = {
        split: [
            (" ".join(text.decode() for text in row["document"]), row["summaries"][0].decode())
            for row in rows
        ]
        for split, rows in some.items()
    }
    data = load_documents(DocumentConfig(), given)
    grades = ("draught", "squeak", "leak", "crack", "flood", "fire")
    words, test = set(data.rows.tokenizer.words), data.splits["test"]
    for document, (summary,) in zip(test.texts, test.summaries):
        trouble, _, _, valve, _, name = summary[:-1].replace(",", "").split()
        told = [grade for grade in grades if f" {grade} " in document]
        assert len(told) > 1 and trouble.lower() == told[-1]
        assert name in document and valve in document and not {valve, name} & words
    train = found.splits["train"]
    texts = {b" ".join(row["document"]) for row in train.read(range(len(train)))}
    assert (len(texts), found.fingerprint) == (4000, "reports-1")
    columns = data.source("test").arrays
    told = [data.rows.text(row[1:], text) for row, text in zip(columns["target"], test.texts)]
    assert told == [summary for (summary,) in test.summaries]


def test_lines_to_summarize_and_what_is_written_about_them(tmp_path, capsys):
    data = load_documents(
        DocumentConfig(validation_fraction=0.0),
        {"train": GOOD, "test": [("An emu ran.", "Emu.")]},
    )
    reader, path = DocumentReader(data), tmp_path / "new.txt"
    path.write_bytes(b"The emu stopped.\n\ncaf\xe9\n")
    (name, columns), (_, empty), (_, wrong) = reader.read(path)
    assert name == "The emu stopped." and columns["row"] == 0
    assert isinstance(empty, BadRecord) and isinstance(wrong, BadRecord)
    emu = data.rows.tokenizer.size + 1
    outputs = {"tokens": np.array([emu, emu, 3]), "length": np.array(2), "row": columns["row"]}
    assert reader.write(outputs) == {"output": "emu emu"}
    many = " ".join(["emu"] * (data.rows.document + 1))
    path.write_text(f"The emu stopped.\n{many}\n{many[4:]}\n")
    rows = [columns["row"] for _, columns in reader.read(path)]
    lines = [reader.write({**outputs, "row": row}) for row in rows]
    assert [line.get("cut") for line in lines] == [None, True, None]
    assert "note: 1 of 3 documents have more than" in capsys.readouterr().err
    path.write_text("\n")
    with pytest.raises(InputError, match="expected a document a line"):
        list(reader.read(path))


def test_elsewhere_has_the_tokens_of_the_run(tmp_path):
    data = load_documents(
        DocumentConfig(validation_fraction=0.0, test_fraction=0.0), {"train": GOOD}
    )
    lines_of(tmp_path / "other.jsonl", [("A zebra stopped.", ["Zebra.", "Stop."])])
    other = documents_elsewhere(data, DocumentConfig(data=str(tmp_path / "other.jsonl")))
    assert other.sizes == {"train": 1} and other.rows == data.rows
    assert other.source("train", every=False).size == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rare": 0}, "rare = 0"),
        ({"test_fraction": 1.0}, "less than 1"),
        ({"tokenizer": "nowhere/tokenizer.json"}, "expected words with this model"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, message):
    with pytest.raises(InputError, match=message):
        load_documents(DocumentConfig(**flags), {"train": GOOD})
