"""A trained vocabulary loads in transformers and gives the same tokens there."""

import numpy as np
import pytest

from jaxmodels.data.text import train_bpe
from tests.data.text.test_tokenizers import ENGLISH, TEXT, texts_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


def test_transformers_reads_the_file(tmp_path):
    ours = train_bpe(texts_of(tmp_path, ENGLISH, TEXT), 400)
    ours.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert len(theirs) == ours.size == 400
    assert theirs.convert_tokens_to_ids("<|endoftext|>") == ours.end
    rng = np.random.default_rng(0)
    samples = [
        TEXT,
        " it  is\t\n x",
        "ὕδωρ 𝄞 \u00a0",
        "".join(map(chr, rng.integers(32, 900, 500))),
    ]
    for text, tokens in zip(samples, ours.encode(samples)):
        assert theirs(text)["input_ids"] == tokens.tolist()
        assert theirs.decode(tokens.tolist(), clean_up_tokenization_spaces=False) == text
