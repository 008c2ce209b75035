"""Passages of one text in another, against brute force."""

import numpy as np
import pytest

from jaxmodels.data.text import overlap as module
from jaxmodels.data.text.overlap import PASSAGE, STEP, overlap_of
from tests.data.text.test_tokenizers import ENGLISH, texts_of


def words(seed, count):
    rng = np.random.default_rng(seed)
    return " ".join(f"{number:x}" for number in rng.integers(0, 2**20, count))


@pytest.mark.parametrize("block", [1 << 20, 1 << 10])
def test_passages_are_found_wherever_they_are(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    english = ENGLISH.encode("ascii", "replace").decode()  # a byte a character
    passage = english[1000 : 1000 + PASSAGE + STEP]
    train = [words(1, 300), words(2, 400) + passage + words(3, 400), passage[:-STEP], words(4, 30)]
    test = [english[:3000], words(5, 500), words(1, 300)[: PASSAGE - 1]]
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
    found = overlap_of(texts_of(tmp_path / "train", *train), texts_of(tmp_path / "test", *test))
    # By brute force over strings.
    indexed = [
        document[start : start + PASSAGE]
        for document in test
        for start in range(0, len(document) - PASSAGE + 1, STEP)
    ]
    assert found.passages == len(set(indexed))
    inside = {part for part in indexed if any(part in document for document in train)}
    assert found.found == len(inside) >= 1
    expected = [any(part in document for part in indexed) for document in train]
    assert found.documents.tolist() == expected and expected[:2] == [False, True]


def test_passages_across_documents_and_rulers_do_not_count(tmp_path):
    ruler = "=" * 1000
    whole = words(1, 200)
    half = len(whole) // 2
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    train = texts_of(tmp_path / "a", whole[: half - 50], whole[half - 50 : half + 50], ruler)
    test = texts_of(tmp_path / "b", whole[half - 150 : half + 150], ruler)
    found = overlap_of(train, test)
    assert (found.passages, found.found, found.documents.any()) == (2, 0, False)
    nothing = overlap_of(train, texts_of(tmp_path / "b", "short"))
    assert (nothing.passages, nothing.documents.tolist()) == (0, [False] * 3)
