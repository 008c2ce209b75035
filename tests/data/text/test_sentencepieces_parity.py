"""Tokens of T5's and Marian's files against transformers."""

import warnings

import pytest

from jaxmodels.data.text.tokenizers import load_tokenizer
from tests.data.text.test_sentencepieces import ENGLISH, FRENCH, marian_folder, t5_folder
from tests.torchvision_shim import allow_torchvision

pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity
TEXTS = [*ENGLISH, "  two  spaces ", "Unknown: \u6f22\u5b57!", "", "\u2460 caf\u00e9 \ufb01n"]


def test_t5_has_their_tokens(tmp_path):
    theirs = transformers.T5Tokenizer.from_pretrained(str(t5_folder(tmp_path)))
    ours = load_tokenizer(tmp_path)
    assert len(theirs) == ours.size
    told = 0
    for text, tokens in zip(TEXTS, ours.encode(TEXTS)):
        assert [*tokens, ours.end] == theirs(text).input_ids, text
        # Theirs leaves out what is unknown, where sentencepiece writes a sign for it.
        if theirs.unk_token_id not in tokens:
            assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)
            told += 1
    assert told >= len(ENGLISH)


def test_marian_has_their_tokens(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they recommend another package
        theirs = transformers.MarianTokenizer.from_pretrained(str(marian_folder(tmp_path)))
    ours = load_tokenizer(tmp_path)
    texts = [*TEXTS, ">>fra<< The cat"]
    for text, tokens in zip(texts, ours.encode(texts)):
        assert [*tokens, ours.end] == theirs(text).input_ids, text
    for text, tokens in zip(FRENCH, ours.encode_targets(FRENCH)):
        assert [*tokens, ours.end] == theirs(text_target=text).input_ids
        assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)
