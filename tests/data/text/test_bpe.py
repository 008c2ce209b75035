"""Byte-pair encoding: the same file each time, the same tokens whole or in pieces."""

import json
import pickle
from functools import partialmethod
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmodels.data.text import bpe as module
from jaxmodels.data.text import load_tokenizer, train_bpe
from jaxmodels.data.text.bpe import END
from jaxmodels.data.text.corpus import Texts
from tests.data.text.test_tokenizers import ENGLISH, TEXT, texts_of


def test_two_trainings_give_the_same_file(tmp_path):
    texts = texts_of(tmp_path, ENGLISH, TEXT)
    first, second = (train_bpe(texts, 350) for _ in range(2))
    assert first.text == second.text and first.size == 350
    other = texts_of(tmp_path, TEXT[::-1])
    assert train_bpe(other, 350).fingerprint != first.fingerprint
    content = json.loads(first.text)
    assert [token["content"] for token in content["added_tokens"]] == [END]
    again = pickle.loads(pickle.dumps(first))
    assert again.encode([TEXT])[0].tolist() == first.encode([TEXT])[0].tolist()


def test_a_short_text_has_fewer_tokens(tmp_path):
    tokenizer = train_bpe(texts_of(tmp_path, "aaaa"), 1000)
    assert 257 < tokenizer.size < 261


def test_a_large_text_is_learned_from_in_evenly_spread_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(Texts, "batches", partialmethod(Texts.batches, most=64))
    texts = texts_of(tmp_path, *(f"{number:04d}" * 16 for number in range(16)))
    assert sum(len(part) for batch in module._learned_from(texts) for part in batch) == texts.size
    monkeypatch.setattr(module, "MOST_LEARNED", texts.size // 4)
    parts = [part for batch in module._learned_from(texts) for part in batch]
    assert sum(map(len, parts)) == texts.size // 4
    assert sorted({part[:4] for part in parts}) == ["0003", "0007", "0011", "0015"]


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet=" \n\tab.,'12é☃\u00a0", min_size=30), st.integers(8, 20))
def test_pieces_have_the_tokens_of_the_whole(tmp_path_factory, text, most):
    """As long as they are cut at a space between words."""
    folder = tmp_path_factory.mktemp("text")
    tokenizer = _trained(folder)
    pieces = [piece.text for piece in texts_of(folder, text).passages(most)]
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= most for piece in pieces)
    if all(before[-1:].strip() and after[:1] == " " for before, after in pairwise(pieces)):
        whole, *parts = tokenizer.encode([text, *pieces])
        np.testing.assert_array_equal(np.concatenate([np.zeros(0, int), *parts]), whole)


_made = []


def _trained(folder):
    if not _made:
        _made.append(train_bpe(texts_of(folder, "ab ab. a12b' a\n\nab12 " * 20 + TEXT), 300))
    return _made[0]


def test_a_published_tokenizer_is_told_where_documents_end(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "world": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "</s>", "<stop>"])
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = load_tokenizer(tmp_path)
    assert (found.name, found.size, found.end) == ("file", 6, 4)
    # It is neither truncated nor padded, and what looks like a special token is text.
    assert found.encode(["hello world </s>"])[0].tolist()[:2] == [1, 2]
    assert 4 not in found.encode(["</s>"])[0]
    config = tmp_path / "tokenizer_config.json"
    for named in ("<stop>", {"content": "<stop>"}):
        config.write_text(json.dumps({"eos_token": named}))
        assert load_tokenizer(tmp_path).end == 5
    config.write_text(json.dumps({"eos_token": None}))
    assert load_tokenizer(tmp_path).end == 4


@pytest.mark.parametrize("vocabulary", [257, 258])
def test_the_smallest_vocabularies(tmp_path, vocabulary):
    tokenizer = train_bpe(texts_of(tmp_path, TEXT), vocabulary)
    assert tokenizer.size == vocabulary
    assert tokenizer.decode(tokenizer.encode([TEXT])[0]) == TEXT
