"""Published tokenizers of sentencepiece: T5's, and Marian's two models with one vocabulary."""

import io
import json
import pickle

import numpy as np
import pytest
from sentencepiece import SentencePieceTrainer

from jaxmodels.data.text.sentencepieces import SentencePieces
from jaxmodels.data.text.tokenizers import Tokenizer, load_tokenizer
from jaxmodels.errors import InputError

ENGLISH = ["The cat sat on the mat.", "A dog ran to the cat.", "That mat is a red mat, and so on."]
FRENCH = ["Le chat est sur le tapis.", "Un chien court vers le chat.", "Ce tapis est rouge."]


def trained(lines, size, **tokens):
    """The content of a small model's file."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **tokens,
    )
    return model.getvalue()


def t5_folder(folder):
    """A folder with T5's file, whose models have padding as token 0."""
    tokens = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    (folder / "spiece.model").write_bytes(trained(ENGLISH, 60, **tokens))
    return folder


def marian_folder(folder):
    """A folder with Marian's files, whose vocabulary has a language of targets."""
    models = {"source.spm": trained(ENGLISH, 50), "target.spm": trained(FRENCH, 50)}
    for name, content in models.items():
        (folder / name).write_bytes(content)
    pieces = ["</s>", "<unk>"]
    for content in models.values():
        one = SentencePieces(content)
        pieces += [one.word(token) for token in range(3, one.size)]
    pieces = [*dict.fromkeys(pieces), ">>fra<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return load_tokenizer(t5_folder(tmp_path_factory.mktemp("t5")))


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    return load_tokenizer(marian_folder(tmp_path_factory.mktemp("marian")))


def test_t5_has_its_own_numbers_and_a_hundred_more(t5):
    assert isinstance(t5, Tokenizer) and (t5.name, t5.end, t5.padding) == ("sentencepiece", 1, 0)
    assert t5.word(t5.size - 1) == "<extra_id_0>" and t5.word(t5.size - 100) == "<extra_id_99>"
    (tokens,) = t5.encode(ENGLISH[:1])
    assert tokens.dtype == np.int32 and t5.end not in tokens
    assert t5.decode([0, *tokens.tolist(), 1, 0, 0]) == ENGLISH[0]
    assert t5.encode([""])[0].tolist() == [] and t5.decode([]) == ""
    # Text cannot pretend to be a special token.
    assert 1 not in t5.encode(["The cat</s> sat"])[0]


def test_marian_reads_one_language_and_writes_the_other(marian):
    assert marian.padding == marian.size - 1 and marian.end == 0
    (source,), (target,) = marian.encode(ENGLISH[:1]), marian.encode_targets(FRENCH[:1])
    pieces = [marian.word(token) for token in source.tolist()]
    assert "".join(pieces).replace("\u2581", " ").strip() == ENGLISH[0]
    assert marian.decode([marian.padding, *target.tolist(), 0]) == FRENCH[0]
    assert 1 in marian.encode(["\u6f22"])[0]  # unknown


def test_a_language_that_the_vocabulary_has_is_one_token(marian):
    plain, named, unknown = marian.encode(["The cat", ">>fra<< The cat", ">>deu<< The cat"])
    assert named.tolist() == [marian.token_of(">>fra<<"), *plain]
    assert len(unknown) > len(named)


def test_it_is_kept_and_sent_to_processes_and_written_for_others(t5, marian, tmp_path):
    for tokenizer, texts in ((t5, ENGLISH), (marian, [*ENGLISH, ">>fra<< The mat"])):
        kept, published = tmp_path / f"kept{tokenizer.size}", tmp_path / f"its{tokenizer.size}"
        kept.mkdir()
        published.mkdir()
        tokenizer.save(kept)
        tokenizer.save_published(published)
        for again in (
            load_tokenizer(kept),
            load_tokenizer(published),
            pickle.loads(pickle.dumps(tokenizer)),
        ):
            assert again.fingerprint == tokenizer.fingerprint and again.size == tokenizer.size
            for one, other in zip(again.encode(texts), tokenizer.encode(texts)):
                np.testing.assert_array_equal(one, other)
    assert t5.fingerprint != marian.fingerprint


def test_a_single_file_is_read(t5, tmp_path):
    file = tmp_path / "some.model"
    file.write_bytes(t5.source)
    alone = load_tokenizer(file)
    assert alone.size == t5.size - 100 and alone.decode(alone.encode(ENGLISH)[1]) == ENGLISH[1]


@pytest.mark.parametrize("damage", ["target.spm", "vocab.json", "source.spm", "gap"])
def test_what_is_damaged_or_missing_is_said(damage, marian, tmp_path):
    marian.save_published(tmp_path)
    if damage == "vocab.json":
        (tmp_path / damage).unlink()
    elif damage == "gap":
        (tmp_path / "vocab.json").write_text('{"</s>": 0, "a": 2}')
    else:
        (tmp_path / damage).write_bytes(b"no model")
    with pytest.raises(InputError, match=r"sentencepiece|vocab\.json"):
        load_tokenizer(tmp_path)
