"""Packing loses no token and mixes no documents."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmodels.data import kept as keeping
from jaxmodels.data.text import Bytes, Characters, Words, train_bpe
from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.packing import pack, token_type
from tests.data.text.test_tokenizers import ENGLISH, TEXT, texts_of

DOCUMENTS = ["The first.", ENGLISH[:5000], "é", TEXT, "last one"]


def documents_in(column, end):
    """The tokens of each document of a column, without end tokens."""
    tokens, lead = np.asarray(column.tokens).tolist(), end is not None
    edges = [*column.openings.tolist(), len(tokens) - lead]
    return [tokens[start + lead : stop] for start, stop in pairwise(edges)]


@pytest.mark.parametrize("name", ["bytes", "chars", "chars alone", "bpe"])
def test_every_document_is_there_alone_and_whole(tmp_path, monkeypatch, name):
    texts = texts_of(tmp_path, *DOCUMENTS)
    alphabet = "".join(sorted(set("".join(DOCUMENTS))))
    tokenizer = {
        "bytes": lambda: Bytes(),
        "chars": lambda: Characters(alphabet, False, True),
        "chars alone": lambda: Characters(alphabet, False, False),
        "bpe": lambda: train_bpe(texts, 400),
    }[name]()
    # Long documents are encoded in pieces.
    batches = Texts.batches
    monkeypatch.setattr(Texts, "batches", lambda self: batches(self, most=8 * 200))
    column = pack("data", {"train": texts}, tokenizer, tmp_path / "tokens")["train"]
    found = documents_in(column, tokenizer.end)
    assert [tokenizer.decode(tokens) for tokens in found] == DOCUMENTS
    whole = [tokens.tolist() for tokens in tokenizer.encode(DOCUMENTS)]
    assert found == whole
    ends = 0 if tokenizer.end is None else len(DOCUMENTS) + 1
    assert len(column) == sum(map(len, whole)) + ends
    assert (np.asarray(column.tokens) == tokenizer.end).sum() == ends
    assert column.tokens.dtype == np.uint16 and isinstance(column.tokens, np.memmap)


def test_words_end_each_line_once(tmp_path):
    texts = texts_of(tmp_path, "a b\n\nb\n", "b a")
    column = pack("data", {"test": texts}, Words(("<eos>", "a", "b")), tmp_path / "tokens")["test"]
    assert column.tokens.tolist() == [0, 1, 2, 0, 0, 2, 0, 2, 1, 0]
    assert column.openings.tolist() == [0, 6]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(alphabet="ab é☃\n", min_size=1), min_size=1), st.integers(1, 9))
def test_any_documents_in_pieces(tmp_path_factory, documents, most):
    folder = tmp_path_factory.mktemp("text")
    texts = texts_of(folder, *documents)
    passages = list(texts.passages(max(4, most)))
    for number, document in enumerate(documents):
        assert "".join(text for at, text, _ in passages if at == number) == document
        assert [last for at, _, last in passages if at == number][-1]
    column = pack("data", {"train": texts}, Bytes(), folder / "tokens")["train"]
    assert [Bytes().decode(tokens) for tokens in documents_in(column, 256)] == documents


@pytest.mark.parametrize("later_process", [True, False])
def test_damaged_columns_are_made_anew_and_whole_ones_read_once(
    tmp_path, capsys, monkeypatch, later_process
):
    texts = {"train": texts_of(tmp_path, *DOCUMENTS)}
    folder, read = tmp_path / "tokens", []
    first = pack("data", texts, Bytes(), folder)["train"].tokens.tolist()
    checksums = keeping._checksums
    monkeypatch.setattr(keeping, "_checksums", lambda path: read.append(path) or checksums(path))
    keeping._verified.clear()  # as a later process finds it
    assert pack("data", texts, Bytes(), folder)["train"].tokens.tolist() == first
    assert not read  # an earlier process has verified it
    capsys.readouterr()
    content = bytearray((folder / "train.tokens").read_bytes())
    content[100] ^= 4
    (folder / "train.tokens").write_bytes(content)
    if later_process:
        keeping._verified.clear()
    assert pack("data", texts, Bytes(), folder)["train"].tokens.tolist() == first
    said = capsys.readouterr().err
    assert "is damaged: train.tokens differs from its checksum; it is made anew" in said
    assert "encoding 5,1" in said


def test_large_vocabularies_need_wider_tokens():
    assert [token_type(size) for size in (2, 65_536, 65_537)] == [np.uint16, np.uint16, np.uint32]
