"""The errors of a detector on the page of its run."""

import json

import pytest

from jaxmodels.report.classes import classes_of
from jaxmodels.report.detections import errors_of

RECORD = {
    "step": 10,
    "per_class": {
        "cat": {"ap": 0.5, "ap50": 0.75, "ap75": None, "support": 1200},
        "<b>": {"ap": 0.25, "ap50": 0.5, "ap75": 0.125, "support": 3},
    },
    "errors": {"class": {"count": 1234, "cost": 0.125}, "missed": {"count": 3, "cost": -0.0}},
    "score_threshold": 0.375,
    "trained_on": {"cat": 5000, "<b>": 10},
}


def test_the_page_shows_average_precision_and_errors():
    shown, complete = classes_of({"test": json.loads(json.dumps(RECORD))})
    text = str(shown)
    assert not complete
    parts = ("ap50", "0.7500", "1,200", "1,234", "+0.1250", "&lt;b&gt;", "5,000")
    for part in (*parts, "at scores of 0.38 and above", "The gain counts all"):
        assert part in text, part
    assert "precision" not in text and "<b>" not in text


@pytest.mark.parametrize("errors", [None, [], "x", {"class": 3}])
def test_what_is_no_record_of_errors_is_not_shown(errors):
    assert errors_of({"errors": errors}) is None


def test_errors_without_numbers_are_dashes():
    shown = str(errors_of({"errors": {"class": {"count": "x", "cost": None}}}))
    assert "–" in shown and "at scores of" not in shown
