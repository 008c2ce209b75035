"""BLEU and chrF on stored cases, with their signatures."""

import pytest

from jaxmodels.metrics.translation import sentence_chrf, translation_scores

# The example of sacrebleu's README, with the values that stand there.
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def test_scores_and_signatures_are_those_of_sacrebleu():
    found = translation_scores(HYPOTHESES, REFERENCES)
    assert found.bleu == pytest.approx(48.530827)
    assert found.chrf == pytest.approx(59.73, abs=0.01)
    assert found.exact_match == pytest.approx(1 / 3)
    assert found.signatures["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|")
    assert found.signatures["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|")


def test_what_is_equal_has_full_scores_and_nothing_in_common_none():
    found = translation_scores(REFERENCES[0], REFERENCES[:1])
    assert (found.bleu, found.chrf, found.exact_match) == pytest.approx((100, 100, 1))
    assert sentence_chrf("xyz", "abc") == 0 and sentence_chrf("abc", "abc") == pytest.approx(100)
    assert translation_scores(["", "", ""], REFERENCES).bleu == 0
