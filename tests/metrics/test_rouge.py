"""ROUGE by the library on stored cases, and which of several references counts."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from jaxmodels.metrics.rouge import (
    KINDS,
    SIGNATURE,
    Rouge,
    count_unseen,
    mean_rouge,
    rouge,
    rouge_of_each,
)


def test_stored_cases():
    # Words: cat, sat, on, the, mat against 6 of the reference; stems are equal.
    found = rouge("The cat sat on the mat.", ["the cats sat on a mat"])
    assert found == pytest.approx((5 / 6, 3 / 5, 5 / 6))
    assert rouge("", ["something"]) == (0, 0, 0)
    assert rouge("alpha beta", ["beta alpha"]) == pytest.approx((1, 0, 1 / 2))


def test_each_number_is_the_librarys():
    summary, reference = "networks learn running features", "A network learned to run its features"
    expected = RougeScorer(list(KINDS), use_stemmer=True).score(reference, summary)
    found = rouge(summary, [reference])
    assert found == tuple(expected[kind].fmeasure for kind in KINDS)


def test_of_several_references_the_one_of_the_largest_rouge1_counts_with_all_its_numbers():
    # The first reference has all words in another order, the second the order of some.
    summary, references = "a b c d", ["d c b a", "a b x y z"]
    found = rouge(summary, references)
    assert found == rouge(summary, references[:1]) and found.rouge2 == 0
    library = RougeScorer(list(KINDS), use_stemmer=True).score_multi(references, summary)
    assert library["rouge2"].fmeasure > 0  # the largest of each, which SciTLDR does not take
    assert rouge(summary, references[::-1]) == found
    with pytest.raises(ValueError, match="expected one or more"):
        rouge(summary, [])


def test_documents_have_equal_weights():
    each = rouge_of_each(["a", "b c d e"], [["a"], ["x"]])
    assert each == [Rouge(1, 0, 1), Rouge(0, 0, 0)]
    np.testing.assert_allclose(mean_rouge(each), (0.5, 0, 0.5))


def test_documents_that_the_library_does_not_see_are_counted():
    references = [["Утечка.", "漏水。"], ["Течь 7.", "."], ["A leak.", "漏水"]]
    assert count_unseen(references) == 1
    assert rouge("Утечка.", references[0]) == (0, 0, 0) and "a-z" in SIGNATURE
