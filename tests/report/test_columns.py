"""The columns of a table in the report of a run."""

import pytest

from jaxmodels.report.columns import columns_of

NUMBER = {"kind": "number", "missing": 2, "median": 3.5, "mean": 4.25, "std": 0.5}
CATEGORY = {"kind": "category", "missing": 0, "values": [f"town {row}" for row in range(10)]}


def test_each_column_has_a_line():
    section = columns_of({"columns": {"age": NUMBER, "<b>": CATEGORY}})
    text = "".join(map(str, section.content))
    for part in ("age", "4.25", "0.5", "3.5", "&lt;b&gt;", "town 7 and 2 more"):
        assert part in text
    assert "town 8" not in text
    only = "".join(map(str, columns_of({"columns": {"age": NUMBER}}).content))
    assert "values" not in only


@pytest.mark.parametrize("columns", [None, {}, [1], {"a": 3}, {"a": {"kind": 3, "mean": "x"}}])
def test_damaged_facts_do_no_harm(columns):
    section = columns_of({"columns": columns})
    assert (section is None) == (columns != {"a": {"kind": 3, "mean": "x"}})


def test_many_columns_are_folded():
    section = columns_of({"columns": {f"column {row}": NUMBER for row in range(50)}})
    assert "All 50 columns" in "".join(map(str, section.content))
