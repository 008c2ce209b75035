"""Pairs of texts from files to rows: bad ones of every kind, forms of files, splits, tokens."""

import gzip
import re

import pytest
import tensorflow_datasets as tfds

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.pairs import PairConfig, load_pairs, pairs_elsewhere, read_sources
from jaxmodels.data.pairs.dates import dates
from jaxmodels.errors import InputError
from tests.tfds_folder import serialized, write_dataset

GOOD = [(f"Satz {n} ist gut", f"sentence {n} is good") for n in range(40)]
NONE = {"validation_fraction": 0.0, "test_fraction": 0.0, "tokenizer": "chars"}


def load(path, **flags):
    return load_pairs(PairConfig(data=str(path), **{"tokenizer": "chars", **flags}))


def tsv(path, rows):
    content = b"".join(
        b"\t".join(p if isinstance(p, bytes) else p.encode() for p in row) + b"\n" for row in rows
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_bad_pairs_of_every_kind_are_named_and_left_out(tmp_path, capsys):
    tsv(
        tmp_path / "train.tsv",
        [
            *GOOD,
            ("Caf\xe9".encode("latin1"), "coffee"),
            ("gut", "  "),
            ("lang " * 30, "long"),
            ("kein Ziel",),
            ("in beiden", "in both"),
            GOOD[3],  # repeats
            ("OK", "OK"),  # is a copy
            ("in beiden", "in the two"),  # shares its source
        ],
    )
    tsv(tmp_path / "test.tsv", [("in  beiden ", "in both"), ("neu", "new"), ("neu", "new")])
    flags = {"longest": 100, "validation_fraction": 0.0}
    with pytest.raises(InputError) as raised:
        load(tmp_path, **flags)
    told = str(raised.value)
    for reason in (
        "train.tsv:41 is no UTF-8: ",
        "train.tsv:42 has no visible character as target",
        "train.tsv:43 has 150 characters as source; expected at most 100",
        "train.tsv:44 lacks a text: it has too few columns",
        "train.tsv:45 has the same texts as test.tsv:1",
        "--skip-bad-records 5",
    ):
        assert reason in told, reason
    data = load(tmp_path, skip_bad_records=5, **flags)
    assert data.sizes == {"train": 43, "test": 3}
    assert data.cleaning["repeated"]["train"] == {"count": 1, "records": ["train.tsv:46"]}
    assert data.cleaning["repeated"]["test"]["count"] == 1
    assert data.cleaning["copies"] == {"train": 1} and data.cleaning["shared"] == {"source": 1}
    assert data.facts()["skipped"]["count"] == 5
    assert "source 1; 0 left out (--drop-shared)" in data.summary()
    dropped = load(tmp_path, skip_bad_records=5, drop_shared=True, **flags)
    assert dropped.sizes["train"] == 42 and dropped.cleaning["dropped"] == 1


def test_all_forms_of_files_give_the_same_pairs(tmp_path, capsys):
    expected = sorted(GOOD)
    turned = [(b, a) for a, b in GOOD]
    (tmp_path / "folder").mkdir()
    for place, ending in enumerate(("de", "en")):
        text = "\n".join(pair[place] for pair in GOOD) + "\n"
        (tmp_path / f"corpus.{ending}").write_text(text)
        (tmp_path / "folder" / f"train.{ending}").write_text(text.replace("\n", "\r\n"))
    more = [(*pair, "CC-BY") for pair in GOOD]
    forms = [
        (tsv(tmp_path / "plain.tsv", more), ""),
        (tsv(tmp_path / "turned.tsv.gz", turned), "2-1"),
        (tsv(tmp_path / "named.tsv", [("en", "de"), *turned]), "de-en"),
        (tmp_path / "corpus", "de-en"),
        (tmp_path / "folder", "de-en"),
    ]
    for path, pair in forms:
        data = load(path, pair=pair, **NONE)
        some = data.splits["train"]
        assert sorted(zip(some.sources, some.targets)) == expected, path
    data = load(tmp_path / "corpus", pair="en-de", **NONE)
    assert data.splits["train"].sources[0].startswith("sentence")
    with open(tmp_path / "corpus.en", "a") as file:
        file.write("one more\n")
    with pytest.raises(InputError, match="has 40 lines in corpus"):
        load(tmp_path / "corpus", pair="de-en", **NONE)
    with pytest.raises(InputError, match="expected de and fr among them, or --pair with numbers"):
        load(tmp_path / "named.tsv", pair="de-fr")
    with pytest.raises(InputError, match="expected SOURCE-TARGET, as de-en"):
        load(tmp_path / "named.tsv", pair="deen")
    assert "note:" not in capsys.readouterr().err
    load(tmp_path / "named.tsv", **NONE)
    assert "if it names the columns: --pair en-de" in capsys.readouterr().err
    with pytest.raises(InputError, match="pair = de-en; expected none with --data dates"):
        load("dates", pair="de-en")
    with pytest.raises(InputError, match="has no pair of texts"):
        load(tsv(tmp_path / "empty.tsv", []))


def test_pairs_of_tfds_by_name_config_and_direction(tmp_path):
    texts, flags = tfds.features.Text(), {"data_dir": str(tmp_path), **NONE}
    records = [serialized({"de": [a.encode()], "en": [b.encode()]}) for a, b in GOOD]
    splits = {"train": records[:30], "validation": records[30:35], "test": records[35:]}
    write_dataset(tmp_path, "talks", {"de": texts, "en": texts}, splits, config="de-en")
    turned = load("talks/de-en", pair="en-de", **flags)
    assert turned.sizes == {"train": 30, "validation": 5, "test": 5}
    assert turned.texts("test")[0][0].startswith("sentence")
    # Without a pair the features stand in the order of the alphabet.
    plain, named = (load("talks/de-en", pair=pair, **flags) for pair in ("", "de-en"))
    assert plain.texts("train") == named.texts("train")
    assert set(zip(*plain.texts("train"))) == set(zip(*reversed(turned.texts("train"))))
    assert plain.name == "talks_de-en" and turned.splits["test"].keys[0].startswith("test/")
    with pytest.raises(InputError, match="expected the text 'fr' among them, as --pair says"):
        load("talks/de-en", pair="de-fr", **flags)
    records = [serialized({name: [b"x"] for name in ("de", "en", "fr")})]
    write_dataset(tmp_path, "more", dict.fromkeys(("de", "en", "fr"), texts), {"train": records})
    with pytest.raises(InputError, match="expected two texts: --pair SOURCE-TARGET"):
        load("more", **flags)


def test_rows_are_framed_and_are_texts_again():
    given = {"train": GOOD, "test": [("Satz 7 ist neu", "a sentence with zß"), ("x", "y" * 200)]}
    data = load_pairs(PairConfig(tokenizer="chars", validation_fraction=0.0), given)
    columns, some = data.columns("test"), data.splits["test"]
    assert (
        columns["target"].shape[1] <= data.longest[1] and columns["target"][0, 0] == data.rows.start
    )
    assert list(some.places) == [1, 0] or list(some.places) == [0, 1]
    sources, targets = data.texts("test")
    assert targets == list(some.targets) and sources == list(some.sources)
    for row, text in zip(columns["target"], some.targets):
        there = row[row >= 0]
        if len(text) + 2 <= data.longest[1]:
            assert there[-1] == data.rows.end and data.rows.text(row[1:]) == text
    assert data.cleaning["cut"] == {"test": 1}
    # Training pairs beyond the length are left out, not cut.
    short = load_pairs(PairConfig(tokenizer="chars", length=20, **NONE_TO_CARVE), given)
    assert short.cleaning["long"] == 30 and short.sizes["train"] == 10


NONE_TO_CARVE = {"validation_fraction": 0.0}


def test_a_split_that_is_missing_is_carved_by_the_source():
    given = {"train": [("same", f"other {n}") for n in range(5)] + GOOD * 3}
    data = load_pairs(PairConfig(tokenizer="chars", validation_fraction=0.2), given)
    assert set(data.sizes) == {"train", "validation", "test"}
    sources = [set(some.sources) for some in data.splits.values()]
    assert not sources[0] & sources[1] and not sources[0] & sources[2]
    assert sum(data.sizes.values()) == 125


def test_pairs_that_share_a_text_with_a_split_that_was_carved_are_counted_and_dropped():
    given = {"train": [(f"Satz {n}", f"sentence {n % 20}") for n in range(60)]}
    flags = {"tokenizer": "chars", "validation_fraction": 0.2, "test_fraction": 0.1}
    data = load_pairs(PairConfig(**flags), given)
    shared = data.cleaning["shared"]["target"]
    assert shared > 0 and f"target {shared}; 0 left out (--drop-shared)" in data.summary()
    found = load_pairs(PairConfig(**flags, drop_shared=True), given)
    assert found.cleaning["dropped"] == shared
    assert found.sizes == {**data.sizes, "train": data.sizes["train"] - shared}
    train, *others = (set(some.targets) for some in found.splits.values())
    assert not any(train & other for other in others)
    one = {"train": [(f"Satz {n}", "the same") for n in range(60)]}
    with pytest.raises(InputError, match="drop_shared = True; each training pair has a text that"):
        load_pairs(PairConfig(**flags, drop_shared=True), one)


def test_lines_to_translate_and_those_that_cannot_be(tmp_path):
    data = load_pairs(
        PairConfig(tokenizer="chars", **NONE_TO_CARVE), {"train": GOOD, "test": [("neu", "new")]}
    )
    path = tmp_path / "new.txt"
    path.write_bytes(b"Satz 1\r\n\nCaf\xe9\n" + b"z" * 500 + b"\nSatz 2\n")
    names, found = zip(*read_sources(path, data))
    assert names[0] == "Satz 1" and names[4] == "Satz 2"
    told = [str(one) if isinstance(one, BadRecord) else "" for one in found]
    assert told[1] == "has no visible character" and told[2].startswith("is no UTF-8")
    assert re.match(r"has 500 tokens; expected fewer than \d+: divide it", told[3])
    assert found[0]["source"].shape == found[4]["source"].shape == (data.longest[0],)
    assert data.rows.text(found[4]["source"]) == "Satz 2"


def test_bpe_is_of_both_sides_and_reads_other_data(tmp_path):
    data = load(tsv(tmp_path / "a.tsv", GOOD), tokenizer="bpe", vocabulary=300, test_fraction=0.2)
    assert data.tokenizer.size == 300 and data.tokenizer.end == data.rows.start
    text = "Sätze — sentences\u2009!"
    row = data.rows.sources([text], data.longest[0])[0]
    assert data.rows.text(row) == text
    other = pairs_elsewhere(data, PairConfig(data=str(tsv(tmp_path / "b.tsv", GOOD[:4]))))
    assert other.sizes == {"train": 4} and other.tokenizer is data.tokenizer


@pytest.mark.slow
def test_generated_dates_are_disjoint_and_right():
    splits = dates().splits
    found = {
        split: [(r["source"].decode(), r["target"].decode()) for r in some.read(range(len(some)))]
        for split, some in splits.items()
    }
    days = {split: {target for _, target in pairs} for split, pairs in found.items()}
    assert not days["train"] & days["test"] and not days["train"] & days["validation"]
    assert not days["test"] & days["validation"]
    texts = [source for pairs in found.values() for source, _ in pairs]
    assert len(set(texts)) == len(texts) == 21_500
    for source, target in found["test"]:
        year, _, day = target.split("-")
        digits = re.findall(r"\d+", source)
        assert any(number.endswith(year[2:]) for number in digits), source
        if len(digits) > 1:
            assert int(day) in map(int, digits), source
    by_text = {source: target for pairs in found.values() for source, target in pairs}
    forms = [
        t for t in by_text if "einunddreißigste" in t.lower() or "the twenty-first" in t.lower()
    ]
    assert forms and all(by_text[t].endswith(("-31", "-21")) for t in forms)
