"""Words that are copied, rows of tokens, and sentences."""

import numpy as np

from jaxmodels.data.documents.rows import CopyRows, PromptRows, SequenceRows
from jaxmodels.data.documents.sentence_splitting import split_sentences
from jaxmodels.data.documents.words import (
    END,
    START,
    UNKNOWN,
    copy_vocabulary,
    joined,
    words_of,
)
from jaxmodels.data.pairs.rows import PairRows
from jaxmodels.data.text.tokenizers import Bytes

TEXTS = [["the cat sat", "a cat"], ["the dog sat", "a dog"], ["the cow sat"]]


def test_words_are_divided_and_joined_again():
    text = 'We show (Fig. 2) that "state-of-the-art" nets reach 93.5% at 10,000 steps; don\'t they?'
    assert joined(words_of(text)) == text
    assert words_of("a 14:37 b") == ["a", "14:37", "b"]
    assert joined([]) == ""


def test_unknown_words_of_a_document_get_the_number_of_their_first_place():
    vocabulary = copy_vocabulary(TEXTS, most=100, rare=2, lower=False)
    assert vocabulary.words == ("sat", "the", "a")
    document = ["the", "yak", "sat", "the", "emu", "yak"]
    known, extended = vocabulary.source(document)
    the, sat, size = 5, 4, vocabulary.size
    assert known.tolist() == [the, UNKNOWN, sat, the, UNKNOWN, UNKNOWN]
    assert extended.tolist() == [the, size + 1, sat, the, size + 4, size + 1]
    target = vocabulary.target(["a", "yak", "gnu"], document)
    assert target.tolist() == [6, size + 1, UNKNOWN]
    assert vocabulary.text([*target.tolist(), END, the], document) == "a yak <unk>"
    assert copy_vocabulary(TEXTS, 5, 1, False).words == ("sat",)
    assert copy_vocabulary([["The the"]], 9, 1, True).words == ("the",)
    other = copy_vocabulary(TEXTS, most=100, rare=1, lower=False)
    assert other.fingerprint != vocabulary.fingerprint


def test_rows_to_copy_are_framed_cut_and_told_back():
    vocabulary = copy_vocabulary(TEXTS, most=100, rare=1, lower=False)
    rows = CopyRows(vocabulary, document=4, summary=2)
    columns = rows.columns(["the emu sat", "a b c d cat"], ["emu", "the cat sat"])
    assert {name: column.shape for name, column in columns.items()} == {
        "source": (2, 4),
        "copied": (2, 4),
        "target": (2, 4),
    }
    emu = vocabulary.size + 1
    assert columns["target"][0].tolist() == [START, emu, END, 0]
    assert columns["copied"][0].tolist()[1:] == [emu, vocabulary.source(["sat"])[0][0], 0]
    assert columns["target"][1].tolist()[0::3] == [START, 0]  # what is cut has no end
    assert rows.text(columns["target"][0][1:], "the emu sat") == "emu"
    assert rows.text(columns["target"][1][1:], "a b c d cat") == "the cat"
    assert rows.lengths(["a b"], ["c"]) == ([2], [1])


def test_a_prompt_and_its_summary_are_one_text_of_which_the_summary_counts():
    rows = PromptRows(Bytes(), document=5, summary=3)
    columns = rows.columns(["ab", "abcdefgh"], ["xy", "uvwxyz"])
    assert columns["tokens"].shape == (2, rows.length + 1)
    end = Bytes.end
    given = ("ab", " xy", [end]), ("abcde", " uv", [])  # what is cut has no end
    for row, (document, summary, ends) in enumerate(given):
        prompt = int(columns["prompt"][row])
        tokens, scored = columns["tokens"][row], columns["scored"][row]
        asked = [end, *f"{document}\n\nTL;DR:".encode()]
        assert tokens[:prompt].tolist() == asked
        assert tokens[1:][scored].tolist() == [*summary.encode(), *ends]
        assert not scored[: prompt - 1].any()
        assert rows.text(tokens[prompt:], document) == summary.strip()


def test_sentences_end_where_english_ends_them():
    text = "We met Dr. Bo in Fig. 3. It was 3.5 m long! Did e.g. he see (it)? Yes.\n\nno capital"
    assert split_sentences(text) == [
        "We met Dr. Bo in Fig. 3.",
        "It was 3.5 m long!",
        "Did e.g. he see (it)?",
        "Yes.",
        "no capital",
    ]
    assert split_sentences(' He said "Stop." Then A. Bell left. ') == [
        'He said "Stop."',
        "Then A. Bell left.",
    ]
    assert split_sentences(" \n ") == []
    assert np.unique(split_sentences("One. One.")).tolist() == ["One."]
    assert split_sentences(
        "Er kam. Öl lief aus. ähnlich. «Élan !» ¿Qué? ¿Sí? Это дом. Там мы."
    ) == [
        "Er kam.",
        "Öl lief aus. ähnlich.",
        "«Élan !»",
        "¿Qué?",
        "¿Sí?",
        "Это дом.",
        "Там мы.",
    ]
    assert split_sentences("彼は「どこ？」と言った。雨だ！\nはい") == [
        "彼は「どこ？」",
        "と言った。",
        "雨だ！",
        "はい",
    ]
    assert split_sentences("The fig.\n\nnext is al.\nso") == ["The fig.", "next is al. so"]


def test_a_summary_that_is_cut_does_not_end_there():
    rows = SequenceRows(PairRows.of(Bytes()), document=16, summary=3)
    target = rows.columns(["one"] * 2, ["two", "three"])["target"]
    start, end = rows.pairs.start, rows.end
    assert target.tolist() == [[start, *b"two", end], [start, *b"thr", -1]]
