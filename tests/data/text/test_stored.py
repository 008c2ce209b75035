"""Text by name: Python's help, files, folders, tfds data sets; and what is none."""

from pydoc_data.topics import topics

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.hashing import Hasher

from jaxmodels.data.images.stored import open_images
from jaxmodels.data.text import open_text
from jaxmodels.data.text.pydoc import whole_topics
from jaxmodels.data.text.stored import in_order_of_keys
from jaxmodels.errors import InputError
from tests.tfds_folder import serialized, write_dataset, write_image_dataset


def texts(dataset):
    return {
        split: [record["text"].decode() for record in records.read(range(len(records)))]
        for split, records in dataset.splits.items()
    }


def write_texts(root, name, splits, features=None, **others):
    features = features or {"text": tfds.features.Text()}
    records = {
        split: [serialized({"text": [text.encode()], **others}) for text in some]
        for split, some in splits.items()
    }
    return write_dataset(root, name, features, records)


def test_topics_of_python():
    dataset = open_text("pydoc")
    [records] = dataset.splits.values()
    names = [records.key(row) for row in range(len(records))]
    assert 40 < len(names) < len(topics) and names == sorted(names)
    assert texts(dataset)["train"] == [topics[name] for name in names]
    assert "compound" in names and "for" not in names  # which is a section of it
    assert dataset.version.startswith("python3.") and dataset == open_text("pydoc")._replace(
        splits=dataset.splits
    )


def test_topics_that_are_a_part_of_another_are_left_out():
    long = {letter: letter * 120 for letter in "abcd"}
    topics = {
        "whole": f"{long['a']}\n\n{long['b']}\n  \n{long['c']}",
        "part": f"{long['a']}\n\n{long['c']}",
        "own": f"{long['a']}\n\n{long['d']}",
        "equal": f"{long['d']}\n\n{long['a']}",
    }
    assert whole_topics(topics) == ["equal", "whole"]


def test_a_file(tmp_path):
    path = tmp_path / "my book.txt"
    path.write_text("\ufeffOnce upon a time.")
    dataset = open_text(str(path))
    assert dataset.name == "my_book.txt" and texts(dataset) == {"train": ["Once upon a time."]}
    again = tmp_path / "elsewhere"
    again.mkdir()
    path.rename(again / path.name)
    assert open_text(str(again / path.name)).fingerprint == dataset.fingerprint
    (again / path.name).write_text("Once upon a time!")
    assert open_text(str(again / path.name)).fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["b.txt", "a.md", "c/d.rst"], {"train": ["a.md", "b.txt", "c/d.rst"]}),
        (
            ["train/a.txt", "train/b/c.txt", "Val/a.txt", "testing/x.text"],
            {
                "train": ["train/a.txt", "train/b/c.txt"],
                "validation": ["Val/a.txt"],
                "test": ["testing/x.text"],
            },
        ),
        (
            ["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"],
            {
                "test": ["wiki.test.tokens"],
                "train": ["wiki.train.tokens"],
                "validation": ["wiki.valid.tokens"],
            },
        ),
    ],
)
def test_a_folder(tmp_path, capsys, files, splits):
    for file in [*files, "picture.png", "c.bin"]:
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_text(file)
    assert texts(open_text(str(tmp_path))) == splits
    said = capsys.readouterr().err
    assert "not read: 1 file ending in .png, 1 in .bin" in said or "in .bin" in said
    assert "beside" not in said


def test_files_beside_the_splits_are_told(tmp_path, capsys):
    for file in ("train.txt", "test.txt", "notes.txt"):
        (tmp_path / file).write_text(file)
    assert texts(open_text(str(tmp_path))) == {"train": ["train.txt"], "test": ["test.txt"]}
    assert "not read: 1 files beside the splits, say notes.txt" in capsys.readouterr().err
    (tmp_path / "train.txt").unlink()
    with pytest.raises(InputError, match=r"no training split.*train\.txt\. Found: test"):
        open_text(str(tmp_path))


def test_a_tfds_data_set(tmp_path):
    labels = tfds.features.ClassLabel(num_classes=2)
    features = {"text": tfds.features.Text(), "label": labels, "title": tfds.features.Text()}
    records = {
        split: [
            serialized({"text": [text.encode()]})
            + serialized({"label": [1]})
            + serialized({"title": [b"T"]})
            for text in some
        ]
        for split, some in {"train": ["one", "two é"], "test": ["three"]}.items()
    }
    write_dataset(tmp_path, "reviews", features, records)
    dataset = open_text("reviews", tmp_path)
    assert texts(dataset) == {"train": ["one", "two é"], "test": ["three"]}
    assert (dataset.version, dataset.facts["shuffled"]) == ("1.2.0", True)


def test_lines_of_tfds_are_put_back_into_their_order(tmp_path):
    lines = [f"line {number}" for number in range(50)]
    order = sorted(range(50), key=Hasher("train").hash_key)  # as tfds stores them
    write_texts(tmp_path, "book", {"train": [lines[key] for key in order]})
    dataset = open_text("book", tmp_path)
    assert texts(dataset)["train"] != lines
    [records] = in_order_of_keys(dataset).values()
    assert [piece.text.decode() for piece in records.pieces()] == lines
    assert [records.key(piece.row) for piece in records.pieces()] == [
        f"train/{order.index(key)}" for key in range(50)
    ]
    kept = dataset._replace(facts={"shuffled": False})
    assert in_order_of_keys(kept) == dict(dataset.splits)


def test_what_is_no_text_says_who_reads_it(tmp_path):
    images = [np.zeros((4, 4, 1), np.uint8)]
    write_image_dataset(tmp_path / "tfds", "pictures", {"train": images})
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    classifier = r"images are read by python -m experiments\.classifier"
    for name, directory, said in [
        ("pictures", tmp_path / "tfds", rf"0 text features.*{classifier}"),
        ("digits", None, rf"'digits' holds images; expected a text feature\. I{classifier[1:]}"),
        (str(folder), None, r"has no text.*1 file ending in \.png"),
        (str(folder / "a.wav"), None, "is no file or folder"),
        ("pydok", tmp_path / "tfds", "unknown data 'pydok'; did you mean 'pydoc'"),
    ]:
        with pytest.raises(InputError, match=said):
            open_text(name, directory)
    (folder / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"is no text: (no experiment here reads )?sound"):
        open_text(str(folder / "a.wav"))


def test_text_given_to_an_image_experiment_says_who_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "jaxmodels.data.kinds._is_there", lambda name: name.endswith("language_model")
    )
    (tmp_path / "book.txt").write_text("text")
    write_texts(tmp_path / "tfds", "reviews", {"train": ["a"]})
    for name, directory in [
        ("pydoc", None),
        (str(tmp_path / "book.txt"), None),
        (str(tmp_path), None),
        ("reviews", tmp_path / "tfds"),
    ]:
        with pytest.raises(
            InputError, match=r"ext is read by python -m experiments\.language_model"
        ):
            open_images(name, directory)


def test_several_text_features(tmp_path):
    kind = tfds.features.Text
    record = serialized({"en": [b"dog"]}) + serialized({"de": [b"Hund"]})
    write_dataset(tmp_path, "pairs", {"en": kind(), "de": kind()}, {"train": [record]})
    with pytest.raises(InputError, match=r"2 text features; expected one, or one called 'text'"):
        open_text("pairs", tmp_path)
    write_dataset(
        tmp_path, "german", {"de": kind(), "n": tfds.features.Scalar(np.int64)}, {"train": [record]}
    )
    assert texts(open_text("german", tmp_path)) == {"train": ["Hund"]}


def test_a_name_that_is_also_a_file_or_folder(tmp_path, monkeypatch):
    (tmp_path / "novels").mkdir()
    for path in ("book.txt", "novels/one.txt"):
        (tmp_path / path).write_text("text")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"For the file or folder: --data \./novels"):
        open_text("novels", tmp_path)
    for name in ("./book.txt", "book.txt", "./novels"):
        assert texts(open_text(name)) == {"train": ["text"]}
    with pytest.raises(InputError, match="There is no file or folder books/one either"):
        open_text("books/one", tmp_path)
