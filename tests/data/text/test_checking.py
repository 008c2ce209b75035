"""Bad text of every kind is found, counted and left out as the rules say."""

from itertools import chain, pairwise

import numpy as np
import pytest

from jaxmodels.data.dataset import ArrayRecords, BadRecord
from jaxmodels.data.text.checking import examine, load_examined
from jaxmodels.data.text.records import StoredTexts, texts_in_memory
from jaxmodels.data.text.splitting import fractions_of
from jaxmodels.errors import InputError
from tests.data.text.test_overlap import words


def check(folder, splits, documents="whole", fractions=None, drop=False):
    records = {
        split: some if isinstance(some, StoredTexts) else texts_in_memory(some)
        for split, some in splits.items()
    }
    folder.mkdir(exist_ok=True)
    examine("data", records, documents, fractions or {}, drop, folder)
    return load_examined(folder)


def documents(examined, split):
    return [text for _, text, _ in examined.texts[split].passages()]


def long(seed):
    return words(seed, 60).encode()


def test_bad_text_of_every_kind(tmp_path):
    leaked, shared = long(1), long(2)
    train = [
        b"caf\xe9",  # Latin-1
        b"",
        b" \n\t",
        b"good",
        leaked,
        b"good",
        "é".encode()[:1],  # cut in a character
        b"\x00 is a character",
        b"short",
        shared,
        "\ud800".encode("utf-8", "surrogatepass"),
        b"before " + long(3) + b" after",
    ]
    test = [leaked, b"short", b"\xff", long(3), b"short"]
    found = check(tmp_path / "a", {"train": train, "validation": [shared, leaked], "test": test})
    assert [(row.split, row.row, row.kind) for row in found.bad] == [
        ("train", 0, "undecodable"),
        ("train", 4, "duplicate"),
        ("train", 6, "undecodable"),
        ("train", 9, "duplicate"),
        ("train", 10, "undecodable"),
        ("validation", 1, "duplicate"),
        ("test", 2, "undecodable"),
    ]
    said = list(map(str, found.bad))
    assert said[0] == "train[0]: is no UTF-8: unexpected end of data (0xe9); convert it"
    assert said[1] == "train[4]: has the same text as test[0]"
    assert said[3] == "train[9]: has the same text as validation[0]"
    kept = ["good", "good", "\x00 is a character", "short", f"before {long(3).decode()} after"]
    assert documents(found, "train") == kept
    assert documents(found, "test") == [leaked.decode(), "short", long(3).decode(), "short"]
    assert found.cleaning["blank"] == {"train": 2, "validation": 0, "test": 0}
    assert found.cleaning["repeated"] == {"train": 1, "validation": 0, "test": 1}
    passages = found.cleaning["passages"]["test"]
    assert passages["train_documents"] == 1 and 0 < passages["in_train"] < passages["of"]
    assert (tmp_path / "a" / "bad-records.txt").read_text().splitlines() == said
    dropped = check(tmp_path / "b", {"train": train, "test": test}, drop=True)
    left = ["good", "\x00 is a character", "short", shared.decode()]
    assert documents(dropped, "train") == left and dropped.cleaning["dropped"] == 2
    assert documents(dropped, "test") == documents(found, "test")


def test_records_that_cannot_be_read(tmp_path):
    class Broken(ArrayRecords):
        def read(self, rows):
            if 1 in rows:
                raise BadRecord("cannot be read: gone", "unreadable")
            return super().read(rows)

    column = np.array([b"a", b"b", b"c"], object)
    found = check(tmp_path / "a", {"train": StoredTexts(Broken({"text": column}))})
    assert documents(found, "train") == ["a", "c"]
    assert [str(row) for row in found.bad] == ["train[1]: cannot be read: gone"]


def test_counts(tmp_path):
    text = " = é = \n\n The <unk> sat ☃ \n"
    found = check(tmp_path / "a", {"train": [text.encode(), b"no end"], "test": [b"a\nb"]})
    counts = found.counts["train"]
    assert (counts.documents, counts.bytes) == (2, len(text.encode()) + 6)
    assert counts.characters == len(text) + 6
    assert counts.words == (3 + 1) + 1 + (4 + 1) + (2 + 1)  # and the ends of lines
    assert found.counts["test"].words == 4
    assert found.defines_words
    assert not check(
        tmp_path / "b", {"train": [b"an <unk>"[:-1]], "test": [b"<unk>"]}
    ).defines_words


def test_a_split_is_made_of_whole_documents_by_their_content(tmp_path):
    train = [f"document {number} ".encode() * 5 for number in range(400)]
    train += train[:40]
    fractions = {"validation": 0.1, "test": 0.2}
    found = check(tmp_path / "a", {"train": train}, fractions=fractions)
    assert found.divided == "documents"
    parts = {split: documents(found, split) for split in found.texts}
    assert sorted(chain.from_iterable(parts.values())) == sorted(text.decode() for text in train)
    sets = {split: set(some) for split, some in parts.items()}
    assert sum(map(len, sets.values())) == 400  # equal documents are on the same side
    for split, fraction in fractions.items():
        assert abs(found.counts[split].bytes / sum(map(len, train)) - fraction) < 0.02
    # Documents mostly stay where they are when others come, in any order.
    more = [*reversed(train), *(f"new {number} ".encode() * 9 for number in range(20))]
    again = check(tmp_path / "b", {"train": more}, fractions=fractions)
    stayed = [len(sets[split] & set(documents(again, split))) / len(sets[split]) for split in sets]
    assert min(stayed) > 0.9


@pytest.mark.parametrize("count", [1, 3])
def test_few_documents_are_divided_by_position(tmp_path, count):
    lines = [f"{number} café\n" for number in range(900)]
    text = "".join(lines).encode()
    cuts = [len(text) * part // count for part in range(count + 1)]
    train = [text[start:stop] for start, stop in pairwise(cuts)]
    found = check(tmp_path / "a", {"train": train}, fractions={"validation": 0.1, "test": 0.05})
    assert found.divided == "position" and not found.bad
    parts = ["".join(documents(found, split)) for split in ("train", "validation", "test")]
    assert "".join(parts) == "".join(lines)
    assert all(part.endswith("\n") for part in parts)
    for part, share in zip(parts, (0.85, 0.1, 0.05)):
        assert abs(len(part.encode()) / len(text) - share) < 0.01
    one = check(tmp_path / "b", {"train": ["☃".encode() * 998]}, fractions={"test": 0.1})
    assert one.counts["test"].characters == 99  # cut between characters
    only = check(tmp_path / "c", {"train": train, "test": [b"x"]}, fractions={"validation": 0.1})
    assert "".join(documents(only, "train") + documents(only, "validation")) == "".join(lines)


def test_a_text_that_is_too_short_to_divide(tmp_path):
    with pytest.raises(InputError, match=r"has 3 bytes.*would be empty.*--test-fraction 0"):
        check(tmp_path / "a", {"train": [b"abc"]}, fractions={"validation": 0.05, "test": 0.05})
    # One that is shorter than the passages that are looked for is divided all the same.
    shares = {"validation": 0.2, "test": 0.2}
    check(tmp_path / "b", {"train": [b"one\ntwo\nthree\nfour\n"]}, fractions=shares)


def test_fractions():
    assert fractions_of("d", {"train": 1}, None, None) == {"validation": 0.05, "test": 0.05}
    assert fractions_of("d", {"train": 1, "test": 1}, None, None) == {"validation": 0.05}
    assert fractions_of("d", {"train": 1, "test": 1}, 0.0, 0.0) == {}
    for validation, test, said in [
        (1.0, None, "validation_fraction = 1.0; expected at least 0 and below 1"),
        (None, 0.1, "test_fraction = 0.1, but data 'd' has a test split already"),
    ]:
        with pytest.raises(InputError, match=said):
            fractions_of("d", {"train": 1, "test": 1}, validation, test)
    with pytest.raises(InputError, match="a sum below 1"):
        fractions_of("d", {}, 0.5, 0.5)
