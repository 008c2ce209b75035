"""Sentences from files to rows: bad ones of every kind, splits, folds, tokens."""

import gzip
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmodels.data.buckets import Bucketed
from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.resident import Resident
from jaxmodels.data.sentences import SentenceConfig, load_sentences, read_sentences
from jaxmodels.data.sentences.opinions import opinions
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from tests.tfds_folder import serialized, write_dataset

GOOD = [
    (f"a fine film , number {n}" if n % 2 else f"a dull film , number {n}", n % 2)
    for n in range(40)
]


def load(path, **flags):
    return load_sentences(SentenceConfig(data=str(path), **flags))


def csv_of(path, rows, names=("text", "label")):
    lines = [",".join(names).encode()]
    lines += [
        b",".join(part if isinstance(part, bytes) else f'"{part}"'.encode() for part in row)
        for row in rows
    ]
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_bad_sentences_of_every_kind_are_named_and_left_out(tmp_path, capsys):
    csv_of(
        tmp_path / "train.csv",
        [
            *GOOD,
            ("caf\xe9".encode("latin1"), b"1"),
            ("  ", 1),
            ("long " * 30, 0),
            ("no label", ""),
            ("too many", 1, "values"),
            ("in two splits", 1),
            (GOOD[3][0], 0),  # contradicts
            (GOOD[4][0], 0),  # repeats
        ],
    )
    csv_of(
        tmp_path / "test.csv", [("in two  splits ", 1), ("another film", 0), ("another film", 0)]
    )
    flags = {"longest": 100, "validation_fraction": 0.0}
    with pytest.raises(InputError) as raised:
        load(tmp_path, **flags)
    told = str(raised.value)
    for reason in (
        "train.csv:42 is no UTF-8: ",
        "train.csv:43 has no visible character",
        "train.csv:44 has 150 characters; expected at most 100",
        "train.csv:45 has label -1 (unknown)",
        "train.csv:46 has another number of values than the line of names",
        "train.csv:47 has the same text as test.csv:2",
        "train.csv:48 has the same text as train.csv:5 and another label",
        "7 bad records",
        "--skip-bad-records 7",
    ):
        assert reason in told, told
    data = load(tmp_path, skip_bad_records=7, **flags)
    assert data.sizes == {"train": 41, "test": 3}
    facts = data.facts()
    assert facts["skipped"]["count"] == 7
    assert facts["cleaning"]["repeated"] == {
        "train": {"count": 1, "records": ["train.csv:49"]},
        "test": {"count": 1, "records": ["test.csv:4"]},
    }
    assert "repeated in train: 1, as train.csv:49" in data.summary()
    assert json.dumps(facts)


def test_records_are_named_by_the_lines_where_they_begin(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n\n"of two\nlines",1\n\nof one,0\n')
    data = load(path, validation_fraction=0.0, test_fraction=0.0)
    assert list(data.splits["train"].keys) == ["data.csv:3", "data.csv:6"]


def test_splits_of_one_file_depend_on_content_alone(tmp_path):
    data = load(csv_of(tmp_path / "all.csv", GOOD), validation_fraction=0.2, test_fraction=0.2)
    assert data.sizes == {"train": 24, "validation": 8, "test": 8}
    shuffled = [GOOD[n] for n in np.random.default_rng(0).permutation(40)]
    again = load(
        csv_of(tmp_path / "other.csv.gz", shuffled), validation_fraction=0.2, test_fraction=0.2
    )
    for split in data.splits:
        assert set(data.splits[split].texts) == set(again.splits[split].texts)
        assert np.bincount(data.splits[split].labels).tolist() == [data.sizes[split] // 2] * 2


def test_folds_are_disjoint_stratified_and_keep_equal_sentences_together(tmp_path):
    rows = [*GOOD, GOOD[0], GOOD[1], GOOD[1]]
    csv_of(tmp_path / "train.csv", rows[:30])
    csv_of(tmp_path / "test.csv", rows[30:40])
    (tmp_path / "train.csv").write_bytes(
        (tmp_path / "train.csv").read_bytes() + b'"a fine film , number 1",1\n'
    )
    seen = []
    for fold in range(5):
        data = load(tmp_path, folds=5, fold=fold)
        texts = {split: set(some.texts) for split, some in data.splits.items()}
        assert not texts["test"] & (texts["train"] | texts["validation"])
        assert not texts["train"] & texts["validation"]
        assert sum(data.sizes.values()) == 41
        counts = np.bincount([label for text, label in set(zip(*data.splits["test"][:2]))])
        assert counts.tolist() == [4, 4]
        seen += list(texts["test"])
        assert data.facts()["fold"] == {"number": fold, "of": 5}
    assert len(seen) == len(set(seen)) == 40
    assert "validation" not in load(tmp_path, folds=5, fold=0, validation_fraction=0.0).sizes
    with pytest.raises(InputError, match="expected --fold N"):
        load(tmp_path, folds=5)
    with pytest.raises(InputError, match="a class has 20 different sentences"):
        load(tmp_path, folds=21, fold=0)
    csv_of(tmp_path / "test.csv", [("another film", "7")])
    with pytest.raises(InputError, match="has class '7' in test, which train lacks; expected 0, 1"):
        load(tmp_path)
    (tmp_path / "test.csv").write_text("text,label\n")
    with pytest.raises(InputError, match=r"has no line below the names in test\.csv"):
        load(tmp_path)


def test_pairs_of_a_tsv_and_lines_to_predict(tmp_path):
    path = tmp_path / "pairs.tsv"
    lines = [
        f'one "word {n}\tanother {n} words here\t{"yes" if n % 3 else "no"}' for n in range(30)
    ]
    path.write_text("premise\thypothesis\tgold\n" + "\n".join(lines) + "\n")
    columns = {"text_columns": ("premise", "hypothesis"), "label_column": "gold"}
    data = load(path, **columns, length=8)
    assert data.class_names == ("no", "yes") and data.texts == 2
    columns = data.columns("train")
    # one " word n SEP another n words here: the last is cut off.
    assert columns["segments"][0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (columns["tokens"][:, 4] == 1).all() and (columns["tokens"] != -1).all()
    assert data.cleaning["cut"]["train"] == data.sizes["train"]
    new = tmp_path / "new.txt"
    new.write_bytes(b"one\ttwo\r\n\nonly one\ncaf\xe9\tx\n")
    found = list(read_sentences(new, data))
    assert [name for name, _ in found] == ["one\ttwo", "", "only one", "caf�\tx"]
    assert found[0][1]["segments"].tolist() == [0, 1, 1, 0, 0, 0, 0, 0]
    assert found[0][1]["tokens"].tolist()[3:] == [-1] * 5
    assert [str(error)[:9] for _, error in found[1:]] == ["has no vi", "has 1 tex", "is no UTF"]
    assert all(isinstance(error, BadRecord) for _, error in found[1:])
    assert len(list(read_sentences([("a", "b"), "c"], data))) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"sentence,class\nx,1\n", None),
        (b"words,class\nx,1\n", "expected one text: --text-columns NAME"),
        (b"text,label\nx,\n", "has no label"),
        (b"", "has the columns none"),
    ],
)
def test_columns_of_usual_names_are_found(tmp_path, content, told):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    flags = {"validation_fraction": 0.0, "test_fraction": 0.0}
    if told is None:
        assert load(path, **flags).sizes == {"train": 1}
    else:
        with pytest.raises(InputError, match=told):
            load(path, **flags)


def test_sentences_in_memory_and_generated_ones():
    data = load_sentences(
        SentenceConfig(validation_fraction=0.0),
        {"train": [("so bad", "bad"), ("so good", "good")] * 5, "test": [("good", "good")]},
    )
    assert data.class_names == ("bad", "good") and data.sizes["test"] == 1
    found = opinions()
    assert {split: len(some) for split, some in found.splits.items()} == {
        "train": 6000,
        "validation": 1000,
        "test": 1000,
    }
    texts = [
        one["text"] for split in found.splits.values() for one in split.read(range(len(split)))
    ]
    assert len(set(texts)) == 8000
    for given, told in (
        ([("a", 1)], "data is a list"),
        ({"test": [("a", 1)]}, "expected 'train'"),
        ({"train": [("a",)]}, "has other examples"),
    ):
        with pytest.raises(InputError, match=told):
            load_sentences(SentenceConfig(), given)


def test_reviews_of_tfds_as_imdb_has_them(tmp_path):
    names = tfds.features.ClassLabel(names=["neg", "pos"])
    features = {"text": tfds.features.Text(), "label": names}
    records = [serialized({"text": [text.encode()], "label": [label]}) for text, label in GOOD]
    more = [serialized({"text": [b"who knows"], "label": [-1]})]
    splits = {"train": records[:30], "test": records[30:], "unsupervised": more}
    write_dataset(tmp_path, "reviews", features, splits, config="plain_text")
    for name in ("reviews", "reviews/plain_text"):
        data = load(name, data_dir=str(tmp_path), validation_fraction=0.2)
        assert data.sizes == {"train": 24, "validation": 6, "test": 10}
        assert data.class_names == ("neg", "pos") and not data.skipped
        assert (data.splits["test"].texts[0], data.splits["test"].labels[0]) == ((GOOD[30][0],), 0)


def test_training_sentences_are_in_buckets_of_their_lengths_and_others_in_one():
    rows = [(" ".join(["fine"] * (2 + n % 29)) + f" {n}", n % 2) for n in range(90)]
    data = load_sentences(SentenceConfig(buckets=3), {"train": rows[:80], "test": rows[80:]})
    lengths = data.facts()["buckets"]
    assert len(lengths) == 3 and lengths[-1] == data.length == 32
    assert f"buckets: {lengths[0]}, {lengths[1]}, 32 tokens" in data.summary()
    source, order = data.training(), Order(data.sizes["train"], 8, seed=0)
    assert isinstance(source, Bucketed) and source.size == data.sizes["train"]
    columns = source.examples(np.arange(source.size))
    for step in range(12):
        (sent,) = source.send(order, [(step, step + 1)], 1)
        bucket, found = sent["bucket"][0, 0], sent["example"][0]
        sizes = (columns["tokens"][found] >= 0).sum(axis=1)
        assert sizes.max() <= lengths[bucket] and sizes.min() > (0, *lengths)[bucket]
    assert isinstance(data.source("test"), Resident)
    # Where one length is as good, rows have it, as without the flag.
    alike = [("fine " * 7 + str(n), n % 2) for n in range(60)]
    for flags, given in (({}, rows), ({"buckets": 3}, alike)):
        plain = load_sentences(SentenceConfig(**flags), {"train": given})
        assert isinstance(plain.training(), Resident) and "buckets" not in plain.facts()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"folds": 1}, "expected two folds or more"),
        ({"folds": 3, "fold": 3}, "a fold below that"),
        ({"folds": 3, "fold": 0, "test_fraction": 0.1}, "a fold is to test with"),
        ({"validation_fraction": 0.7, "test_fraction": 0.5}, "less than 1 together"),
        ({"text_columns": ("a", "b", "c")}, "expected one text, or two"),
        ({"longest": 0}, "longest = 0; expected at least 1"),
        ({"buckets": 0}, "buckets = 0; expected at least 1"),
        ({"validation_fraction": 0.1}, "has this split"),
        ({"tokenizer": "bytes"}, "cannot be read"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, told):
    with pytest.raises(InputError, match=told):
        load_sentences(SentenceConfig(**flags))
