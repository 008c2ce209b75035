"""Tokenizers give back the text that they are given, and are the same when read from their file."""

from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmodels.data.text import Bytes, Characters, Tokenizer, Words, load_tokenizer, train_bpe
from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.tokenizers import FILE, characters_of, words_of
from jaxmodels.errors import InputError

TEXT = (
    "It is a far, far better thing that I do, than I have ever done;\n  café ☃ 𝄞 1859 isn't it?\n\n"
)
ENGLISH = topics["execmodel"]  # 9.5 kB of this Python's help
SETTINGS = settings(max_examples=30, deadline=None)


def texts_of(folder, *documents):
    """Documents as a split: each a range of one file."""
    encoded = [document.encode() for document in documents]
    ends = np.cumsum([0, *map(len, encoded)])
    (folder / "train.txt").write_bytes(b"".join(encoded))
    return Texts(folder / "train.txt", np.stack([ends[:-1], ends[1:]], axis=1))


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    return train_bpe(texts_of(tmp_path_factory.mktemp("text"), TEXT * 30), 320)


LOSSLESS = {
    "bytes": Bytes(),
    "chars": Characters("abc é☃", True, True),
    "chars of one document": Characters("abc", True, False),
    "chars of nothing": Characters("", True, True),
}


@SETTINGS
@given(text=st.one_of(st.text(), st.text(alphabet="tha ☃é𝄞\n'<|endoftext|>")))
def test_any_text_comes_back(bpe, text):
    for tokenizer in (*LOSSLESS.values(), bpe):
        [tokens, nothing] = tokenizer.encode([text + "<|endoftext|>", ""])
        assert tokenizer.decode(tokens) == text + "<|endoftext|>" and not len(nothing)
        assert tokens.dtype == np.int32
        assert tokens.min() >= 0 and tokens.max() < tokenizer.size
        assert tokenizer.end is None or tokenizer.end not in tokens


def test_bytes_are_bytes():
    assert Bytes().encode(["é\x00"])[0].tolist() == [0xC3, 0xA9, 0]
    assert (Bytes().size, Bytes().end) == (257, 256)
    assert Bytes().decode([0xC3, 256, 65]) == "\ufffdA"  # a sample may be no UTF-8


def test_characters_of_a_text_are_its_alphabet_in_order():
    tokenizer = characters_of(["cab", "ab"], ["abba"], several_documents=False)
    assert (tokenizer.alphabet, tokenizer.size, tokenizer.end) == ("abc", 3, None)
    assert tokenizer.encode(["cab"])[0].tolist() == [2, 0, 1]
    assert characters_of(["ab"], ["abc"], False).size == 2 + 256
    assert characters_of(["ab"], ["ab"], True) == Characters("ab", False, True)
    with pytest.raises(InputError, match=r"character 'é' \(U\+00E9\).*--tokenizer bytes"):
        tokenizer.encode(["abé"])


def test_words_are_wikitexts():
    text = " = Title = \n \n The <unk> sat , twice . \n"
    tokenizer = words_of([text])
    assert tokenizer.vocabulary == (
        *("<eos>", "=", "Title", "The", "<unk>", "sat", ",", "twice", "."),
    )
    [tokens] = tokenizer.encode([text])
    words = [word for line in text.split("\n")[:-1] for word in [*line.split(), "<eos>"]]
    assert [tokenizer.vocabulary[token] for token in tokens] == words
    assert tokenizer.decode(tokens) == "= Title =\n\nThe <unk> sat , twice .\n"
    assert tokenizer.encode(["The dog sat"])[0].tolist() == [3, 4, 5]
    with pytest.raises(InputError, match=r"has the word 'dog'.*no <unk>"):
        words_of(["The cat sat"]).encode(["The dog sat"])


def test_a_saved_tokenizer_is_the_same(tmp_path, bpe):
    others = [Words(("<eos>", "<unk>", "a")), Characters("a\U0001d11e", False, True)]
    for number, tokenizer in enumerate([*LOSSLESS.values(), *others, bpe]):
        tokenizer.save(tmp_path / str(number))
        for path in (tmp_path / str(number), tmp_path / str(number) / FILE):
            again = load_tokenizer(path)
            assert isinstance(again, Tokenizer) and type(again) is type(tokenizer)
            for field in ("name", "size", "end", "fingerprint"):
                assert getattr(again, field) == getattr(tokenizer, field)
        texts = ["a" if tokenizer in others else TEXT]
        np.testing.assert_array_equal(again.encode(texts)[0], tokenizer.encode(texts)[0])
    assert len({tokenizer.fingerprint for tokenizer in [*LOSSLESS.values(), *others, bpe]}) == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: .*No such file"),
        ("{", "cannot be read"),
        ("[1]", "holds no object"),
        ('{"jaxmodels_tokenizer": "chars", "alphabet": "a"}', "is damaged"),
        ('{"jaxmodels_tokenizer": "words"}', "is damaged"),
        ('{"model": 3}', "library tokenizers cannot read it"),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, content, said):
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=said):
        load_tokenizer(tmp_path)
