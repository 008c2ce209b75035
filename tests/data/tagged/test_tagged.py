"""Tagged words from files to rows: forms, bad sentences of every kind, alignment with pieces."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.tagged import TaggedConfig, load_tagged, read_words, tagged_elsewhere, tags_of
from jaxmodels.data.tagged.notes import TAGS, notes
from jaxmodels.data.tagged.pieces import shape_of
from jaxmodels.errors import InputError
from jaxmodels.metrics.entities import entities_of
from tests.tfds_folder import serialized, write_dataset

GOOD = [
    (["Anna", f"w{n}", "Rio", "de", "Janeiro"], ["B-PER", "O", "B-LOC", "I-LOC", "I-LOC"])
    for n in range(8)
]
CONLL = b"""-DOCSTART- -X- O O

Anna NNP B-PER
met VBD O

Rio\tNNP\tB-LOC
Grande NNP I-LOC
"""


def load(path, **flags):
    flags = {"validation_fraction": 0.0, "test_fraction": 0.0, **flags}
    return load_tagged(TaggedConfig(data=str(path), **flags))


def write(path, sentences, raw=()):
    lines = [json.dumps({"tokens": words, "tags": tags}).encode() for words, tags in sentences]
    path.write_bytes(b"\n".join([*lines, *raw]) + b"\n")
    return path


def test_bad_sentences_of_every_kind_are_named_and_left_out(tmp_path, capsys):
    bad = [
        (["two"], ["O", "O"]),
        ([], []),
        (["a", " "], ["O", "O"]),
        (["a"], ["PER"]),
        (["a"], [7]),
        (["a", 3], ["O", "O"]),
        (["w"] * 11, ["O"] * 11),
        (GOOD[1][0], ["O"] * 5),
        (["in", "both"], ["O", "O"]),
        GOOD[2],
    ]
    raw = [b'{"tokens": ["caf\xe9"], "tags": ["O"]}', b"{", b'{"tokens": ["a"]}']
    raw += [b'{"tokens": ["\\ud800"], "tags": ["O"]}']
    write(tmp_path / "train.jsonl", [*GOOD, *bad], raw)
    write(tmp_path / "test.jsonl", [(["in", "both"], ["O", "O"]), (["Bo"], ["B-ORG"])])
    with pytest.raises(InputError) as raised:
        load(tmp_path, longest=10, test_fraction=None)
    told = str(raised.value)
    words = (word.rstrip(".") for word in told.split())
    (file,) = (word for word in words if word.endswith("bad-records.txt"))
    listed = Path(file).read_text()
    for reason in (
        "train.jsonl:9 has 1 words and 2 tags; expected as many",
        "train.jsonl:10 has no word",
        "train.jsonl:11 has no visible character in word 1",
        "train.jsonl:12 has the ill-formed tag 'PER'; known are O, B-LOC, I-LOC, B-PER",
        "train.jsonl:13 has the unknown tag '7'",
        "train.jsonl:14 has a word that is no text",
        "train.jsonl:15 has 11 words; expected at most 10",
        "train.jsonl:16 has the same text as train.jsonl:2 and other tags",
        "train.jsonl:17 has the same words as test.jsonl:1",
        "train.jsonl:19 is no JSON in UTF-8",
        "train.jsonl:20 is no JSON in UTF-8",
        "train.jsonl:21 lacks the list 'tags'",
        "train.jsonl:22 is no UTF-8",
        "test.jsonl:2 has the unknown tag 'B-ORG'",
    ):
        assert reason in listed, reason
    assert "14 bad records" in told and "--skip-bad-records 14" in told
    data = load(tmp_path, longest=10, test_fraction=None, skip_bad_records=14)
    assert "skipped 14 bad records" in capsys.readouterr().err
    assert data.sizes == {"train": 9, "test": 1} and len(data.facts()["skipped"]["records"]) == 14
    assert data.cleaning["repeated"]["train"]["count"] == 1
    assert "repeated in train: 1, as train.jsonl:18" in data.summary()


def test_conll_files_json_lines_and_lists_are_the_same(tmp_path):
    (tmp_path / "train.conll").write_bytes(CONLL)
    data = load(tmp_path)
    assert data.tags == ("O", "B-LOC", "I-LOC", "B-PER")
    assert data.splits["train"].words == [("Anna", "met"), ("Rio", "Grande")]
    assert [tags.tolist() for tags in data.splits["train"].tags] == [[3, 0], [1, 2]]
    assert data.splits["train"].keys == ["train.conll:3", "train.conll:6"]
    lines = [(["Anna", "met"], [3, 0]), (["Rio", "Grande"], [1, 2])]
    names = {"tag_names": data.tags}
    other = load(write(tmp_path / "x.jsonl", lines), **names)
    assert [t.tolist() for t in other.splits["train"].tags] == [[3, 0], [1, 2]]
    config = TaggedConfig(validation_fraction=0.0, test_fraction=0.0, **names)
    given = load_tagged(config, {"train": [(words, np.array(tags)) for words, tags in lines]})
    np.testing.assert_equal(given.columns("train"), data.columns("train"))
    # Another column has no tags of entities.
    with pytest.raises(InputError, match="has the tags O; expected O, B-KIND"):
        load(tmp_path / "train.conll", tags_column="2")
    with pytest.raises(InputError, match="tags_column = 1; expected the number of a column"):
        load(tmp_path / "train.conll", tags_column="1")
    (tmp_path / "test.conll").write_text("\n\n")
    with pytest.raises(InputError, match=r"test.conll' has no sentence"):
        load(tmp_path)
    (tmp_path / "keys.jsonl").write_text('{"text": "Anna", "tags": ["O"]}\n')
    with pytest.raises(InputError, match="no good sentence; line 1 lacks the list 'tokens'"):
        load(tmp_path / "keys.jsonl")
    (tmp_path / "short.conll").write_bytes(CONLL + b"\nlone\nB O\n")
    with pytest.raises(InputError, match=r"short.conll:9 has no tag in line 9"):
        load(tmp_path / "short.conll")


def test_first_pieces_have_the_tags_of_words(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["[UNK]", "[CLS]", "[SEP]", "Rio", "de", "Jan", "##ei", "##ro", "Anna", "."]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    words = ["Anna", "[SEP]", "Rio", "de", "Janeiro."]
    tags = ["B-PER", "O", "B-LOC", "I-LOC", "I-LOC"]
    file = write(tmp_path / "a.jsonl", [(words, tags)])
    data = load(file, tokenizer=str(tmp_path))
    columns = data.columns("train")
    # What looks like a special token is text.
    assert columns["tokens"][0, :13].tolist() == [1, 8, 0, 0, 0, 3, 4, 5, 6, 7, 9, 2, -1]
    place, known = {1: 3, 2: 0, 5: 1, 6: 2, 7: 2}, data.tags
    expected = [place.get(at, -1) for at in range(16)]
    assert columns["target"][0].tolist() == expected
    # Words behind the row are outside, and counted.
    short = load(file, tokenizer=str(tmp_path), length=7)
    (one,) = short.pieces("train")
    assert tags_of(np.full(7, 3, np.int32), one.words, 5, known) == ["B-PER"] * 3 + ["O", "O"]
    assert short.cleaning["cut"] == {"train": 1} and "whose ends count as O" in short.summary()


def test_words_that_training_lacks_are_known_by_their_shape(tmp_path):
    data = load(write(tmp_path / "a.jsonl", GOOD))
    tokens = data.columns("train")["tokens"]
    assert len(set(tokens[:, 1])) == 1 and tokens[0, 1] != tokens[0, 0]
    (known,) = data.tokenizer.pieces([("Anna", "Otto", "w99", "+")], 9)
    assert known.tokens[2] == tokens[0, 1] and known.tokens[3] == 0
    assert known.tokens[1] not in (known.tokens[0], 0)
    assert shape_of("Übergrößen-U2a") == "\0Xx-X" and shape_of("1990") == "\0" + "0"


def test_what_is_predicted_comes_from_any_form(tmp_path):
    data = load(write(tmp_path / "a.jsonl", GOOD))
    text = tmp_path / "new.txt"
    text.write_bytes("Dr. O'Neil met Anna.\n\ncaf\xe9\n".encode("latin1"))
    one, empty, broken = read_words(text, data)
    assert one[0] == "Dr . O'Neil met Anna ." and one[1]["words"] == 6
    assert one[1]["word"].tolist() == [0, 1, 2, 3, 4, 5, -1, -1]
    assert isinstance(empty[1], BadRecord) and "no UTF-8" in str(broken[1])
    (tmp_path / "new.conll").write_bytes(CONLL)
    assert [name for name, _ in read_words(tmp_path / "new.conll", data)] == [
        "Anna met",
        "Rio Grande",
    ]
    lines = list(read_words([["Anna", "met"], "Rio", ["w"] * 513], data))
    assert lines[0][1]["tokens"].shape == lines[1][1]["tokens"].shape
    assert str(lines[2][1]) == "has more than 512 tokens; divide it"


def test_other_data_have_the_tags_of_the_run(tmp_path):
    data = load(write(tmp_path / "a.jsonl", GOOD))
    other = write(tmp_path / "b.jsonl", [(["Bo"], ["B-PER"]), (["x"], ["O"])])
    found = tagged_elsewhere(data, TaggedConfig(data=str(other)))
    assert found.sizes == {"train": 2} and found.tags == data.tags
    assert [t.tolist() for t in found.splits["train"].tags] == [[data.tags.index("B-PER")], [0]]
    write(other, [(["Bo"], ["B-ORG"]), (["x"], ["O"])])
    with pytest.raises(InputError, match="has the tag 'B-ORG'; the run knows O, B-LOC"):
        tagged_elsewhere(data, TaggedConfig(data=str(other)))


def test_tfds_sets_with_sequences(tmp_path):
    import tensorflow_datasets as tfds

    names = ["O", "B-PER", "I-PER"]
    features = {
        "tokens": tfds.features.Sequence(tfds.features.Text()),
        "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
    }
    records = [serialized({"tokens": [f"Bo{n}".encode(), b"ran"], "ner": [1, 0]}) for n in range(4)]
    records.append(serialized({"tokens": [b"a"], "ner": [1, 2]}))
    write_dataset(tmp_path, "people", features, {"train": records})
    flags = {"data_dir": str(tmp_path), "validation_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(InputError, match=r"train\[4\]: has 1 words and 2 tags"):
        load_tagged(TaggedConfig(data="people", **flags))
    data = load_tagged(TaggedConfig(data="people", skip_bad_records=1, **flags))
    assert data.tags == tuple(names) and data.splits["train"].words[1] == ("Bo1", "ran")
    with pytest.raises(InputError, match="expected sequences of words"):
        load_tagged(TaggedConfig(data="people", tags_column="pos", **flags))


@pytest.mark.slow
def test_the_generated_notes_are_well_formed_and_new_to_training():
    data = notes()
    train, test = data.splits["train"], data.splits["test"]
    assert (len(train), len(test)) == (4000, 1000)
    seen = {word for record in train.read(range(4000)) for word in record["words"]}
    new = 0
    for record in test.read(range(200)):
        tags = [TAGS[tag] for tag in record["tags"]]
        for at, tag in enumerate(tags):
            # An I follows a tag of its kind.
            assert tag[0] != "I" or (at and tags[at - 1][1:] == tag[1:])
        assert len(tags) == len(record["words"])
        new += any(not set(record["words"][e.start : e.end]) <= seen for e in entities_of(tags))
    assert 60 < new < 190
