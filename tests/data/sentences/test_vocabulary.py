"""Words and pieces of texts, and their numbers."""

import numpy as np

from jaxmodels.data.sentences.vocabulary import (
    features_of,
    piece_vocabulary,
    word_vocabulary,
    words_in,
)


def test_words_and_marks():
    assert words_in("It's NOT good--at all, naïve…") == [
        *("it's", "not", "good", "-", "-", "at", "all", ",", "naïve", "…")
    ]


def test_numbers_of_words_are_those_of_the_commonest():
    vocabulary = word_vocabulary([("b a a",), ("c c c b", "a")], most=4)
    assert vocabulary.words == ("a", "c") and vocabulary.size == 4
    [one, pair] = vocabulary.framed([("A d c",), ("a", "c c c")], most=4)
    assert one.tokens.tolist() == [2, 0, 3] and not one.is_cut
    assert pair.tokens.tolist() == [2, 1, 3, 3] and pair.is_cut
    assert pair.segments.tolist() == [0, 1, 1, 1]


def test_pieces_are_a_set_of_phrases_and_of_parts_of_words():
    features = features_of(("so so bad",))
    assert {"w0so", "w0so so", "w0so so bad", "w0bad", "c0 b", "c0bad", "c0 bad "} <= features
    assert "c0so so" not in features
    vocabulary = piece_vocabulary([("so bad",), ("so good",)], most=1000)
    # Pieces that one text alone has are left out, its phrases are not.
    assert "w0bad" in vocabulary.features and "c0bad" not in vocabulary.features
    [framed] = vocabulary.framed([("so so never",)], most=100)
    names = {vocabulary.features[token] for token in framed.tokens}
    assert names == features_of(("so",)) and len(set(framed.tokens)) == len(framed.tokens)
    kinds = [vocabulary.features[token][0] == "c" for token in framed.tokens]
    assert np.array_equal(framed.segments, kinds)
