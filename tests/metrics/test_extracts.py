"""Extracts: the first sentences, the best one, and the one that a classifier chooses."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.metrics.extracts import Example, ExtractiveClassifier, lead, oracle

WORDS = ["rain", "stone", "river", "cloud", "meadow", "forest", "winter", "harbour"]


def documents(count, seed):
    """Documents of four sentences, of which one tells what is shown; that one is the reference."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sentences = [" ".join(generator.choice(WORDS, 6)) for _ in range(4)]
        place = int(generator.integers(4))
        sentences[place] = f"we show that {sentences[place]}"
        found.append((Example(sentences, [sentences[place]]), place))
    return found


def test_first_and_best_sentences():
    example = Example(["A dog ran.", "Cats sleep all day.", "It rained."], ["the cats sleep"])
    assert lead(example.sentences, 2) == "A dog ran. Cats sleep all day."
    assert lead(example.sentences, 9).endswith("It rained.")
    assert lead(["One.", "Two.", "Three.", "Four."], 3) == "One. Two. Three."
    assert oracle(example) == 1


def test_the_classifier_learns_which_sentence_matters():
    trained = documents(40, 0)
    classifier = ExtractiveClassifier([example for example, _ in trained])
    tested = documents(20, 1)
    chosen = classifier.choose([example.sentences for example, _ in tested])
    assert chosen.tolist() == [place for _, place in tested]
    again = ExtractiveClassifier([example for example, _ in trained])
    assert again.choose([["rain", "we show that rain"]]).tolist() == [1]


@pytest.mark.parametrize(
    ("sentences", "told"),
    [(["A valve leaks."], "each training document has one sentence"), (["!", "?"], "no word")],
)
def test_a_classifier_without_anything_to_learn_is_refused(sentences, told):
    with pytest.raises(InputError, match=told):
        ExtractiveClassifier([Example(sentences, ["A leak."])] * 5)
