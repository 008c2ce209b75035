"""Spans of tags and their scores: cases of conlleval, and seqeval on random tags."""

import numpy as np
import pytest

from jaxmodels.metrics.entities import entities_of, entity_scores


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER I-LOC", [("PER", 0, 1), ("PER", 1, 2), ("LOC", 2, 3)]),
        # IOB1, where B only parts two entities of one kind.
        ("I-PER I-PER B-PER O I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5)]),
        # IOBES, well-formed and not.
        ("S-PER B-LOC I-LOC E-LOC", [("PER", 0, 1), ("LOC", 1, 4)]),
        (
            "E-PER I-PER E-PER S-PER I-PER",
            [("PER", 0, 1), ("PER", 1, 3), ("PER", 3, 4), ("PER", 4, 5)],
        ),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_spans(tags, spans):
    assert [tuple(entity) for entity in entities_of(tags.split())] == spans


def test_scores_count_exact_spans_of_all_kinds_together():
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    told = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = entity_scores(true, told)
    assert found.all == (0.5, 0.5, 0.5, 2)
    assert found.per_kind == {"MISC": (0, 0, 0, 1), "PER": (1, 1, 1, 1)}
    none = entity_scores([["O"]], [["O"]])
    assert none.all == (0, 0, 0, 0) and none.per_kind == {}
    with pytest.raises(ValueError, match="zip"):
        entity_scores([["O"]], [])


@pytest.mark.parity
def test_spans_and_scores_equal_seqeval():
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    generator = np.random.default_rng(0)
    names = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC", "A-B"))]
    draw = [
        [generator.choice(names, size).tolist() for size in generator.integers(1, 12, 300)]
        for _ in range(2)
    ]
    true = draw[0]
    # Half of them right, so that no score is near 0.
    told = [a if n % 2 else b[: len(a)] + a[len(b) :] for n, (a, b) in enumerate(zip(*draw))]
    for tags in true:
        theirs = [(kind, start, end + 1) for kind, start, end in labeling.get_entities(tags)]
        assert [tuple(entity) for entity in entities_of(tags)] == theirs
    found = entity_scores(true, told)
    micro = labeling.precision_recall_fscore_support(true, told, average="micro", zero_division=0)
    np.testing.assert_allclose(found.all, micro, rtol=1e-12)
    own = labeling.precision_recall_fscore_support(true, told, average=None, zero_division=0)
    np.testing.assert_allclose([*found.per_kind.values()], np.stack(own, 1), rtol=1e-12)
