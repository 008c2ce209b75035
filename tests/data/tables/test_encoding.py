"""Columns of a table as numbers for a network."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from jaxmodels.data.tables.encoding import MOST_CATEGORIES, fit_encoder
from jaxmodels.data.tables.inference import infer
from jaxmodels.data.tables.targets import encode_target, find_target, infer_task
from jaxmodels.data.tables.values import categories_in, days_in, lists_in, numbers_in
from jaxmodels.errors import InputError


def _column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


NAMES = [f"name {row}" for row in range(30)]


@pytest.mark.parametrize(
    ("name", "values", "kind", "reason"),
    [
        ("x", ["1", "2.5", "-1e3", None], "number", ""),
        ("x", [1, 2, 2], "number", ""),
        ("x", [True, False, None], "category", ""),
        ("x", ["2024-01-02", "2024-01-03T10:00:00Z", None], "date", ""),
        ("x", [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)], "date", ""),
        ("x", ["a", "b", "a"], "category", ""),
        ("x", ["1"] * 19 + ["2", "x"], "number", ""),
        ("x", ["1"] * 4 + ["x"], "category", ""),
        ("x", [None, None], None, "empty"),
        ("x", [float("nan"), float("inf")], None, "empty"),
        ("x", ["3", "3.0"], None, "constant"),
        ("x", ["a", "a"], None, "constant"),
        ("x", ["a", None], "category", ""),
        ("x", ["3", None, "3"], "number", ""),
        ("x", NAMES, None, "30 different texts in 30 rows"),
        ("x", [[1], [2]], None, "lists"),
        ("x", ["4", "3", "5"], None, "numbers of the rows"),
        ("x", ["4", "3", "6"], "number", ""),
        ("user_id", ["4", "3", "6"], None, "numbers of the rows"),
        ("user_id", ["4", "4", "6"], "number", ""),
    ],
)
def test_what_a_column_holds(name, values, kind, reason):
    found = infer(name, _column(values))
    assert (found.kind, found.reason) == (kind, reason)
    assert found.wrong.tolist() == [kind == "number" and value == "x" for value in values]


def test_the_user_says_what_a_column_holds():
    assert infer("id", _column(["1", "2", "3"]), numeric=True).kind == "number"
    assert infer("x", _column(["1", "2", "3"]), categorical=True).kind == "category"
    assert infer("x", _column(NAMES), categorical=True).kind == "category"
    assert infer("x", _column(["1", "y"]), numeric=True).wrong.tolist() == [False, True]


def test_values_as_numbers_days_and_categories():
    texts = _column(["1", None, "inf", "x", "1_0"])
    values, wrong = numbers_in(texts)
    np.testing.assert_array_equal(values, [1, np.nan, np.nan, np.nan, np.nan])
    assert wrong.tolist() == [False, False, False, True, True]
    np.testing.assert_array_equal(numbers_in(_column([1.5, None])).values, [1.5, np.nan])
    for values in (["1e200", "1"], [1e200, 1.0], ["1e200", "x"]):
        assert numbers_in(_column(values)).wrong[0]
    assert numbers_in(_column([[1]])).wrong.all() and days_in(_column([[1]])).wrong.all()
    days = ["1970-01-02", "1970-01-01T12:00:00", "1970-01-01 18:00:00+06:00", "2024", None]
    values, wrong = days_in(_column(days))
    np.testing.assert_array_equal(values, [1, 0.5, 0.5, np.nan, np.nan])
    assert wrong.tolist() == [False, False, False, True, False]
    times = [datetime.datetime(1970, 1, 1, 12), None]
    np.testing.assert_array_equal(days_in(_column(times)).values, [0.5, np.nan])
    assert categories_in(_column([1.0, 2.5, None, float("nan")])) == ["1", "2.5", None, None]
    assert categories_in(_column(["True", "x"])) == ["true", "x"]
    assert categories_in(_column([True, None])) == ["true", None]
    assert lists_in(_column(["a; b;a", None, ""]), ";") == [["a", "b"], [], []]
    assert lists_in(_column([["a"], [], None]), ";") == [["a"], [], None]


def test_rows_are_scaled_by_the_training_split_and_what_is_missing_is_marked():
    train = pa.table({"n": ["1", "2", None, "6"], "c": ["a", "b", None, "a"], "d": ["1.5"] * 4})
    encoder = fit_encoder(train, {"c": "category", "n": "number", "d": "number"})
    facts = encoder.facts()
    assert facts["n"]["missing"] == 1 and facts["n"]["median"] == 2 and facts["n"]["mean"] == 3
    assert facts["n"]["std"] == pytest.approx(np.std([1, 2, 6]), rel=1e-8)
    assert facts["c"] == {"kind": "category", "missing": 1, "values": ["a", "b"]}
    assert facts["d"]["std"] == 1
    large = encoder.encode(pa.table({"c": ["a"], "n": ["-1e30"], "d": ["0"]})).wrong
    assert large == {0: "has n = '-1e30'; expected a number nearer to 0, which 32 bits can hold"}
    rows = pa.table({"c": ["b", None, "z"], "n": ["3", None, "x"], "d": [None, "2.5", "1.5"]})
    columns, wrong, unknown = encoder.encode(rows)
    std = np.std([1, 2, 6])
    numbers = [[0, 0, 0], [-1 / std, 1, 1], [-1 / std, 1, 0]]
    np.testing.assert_allclose(columns["numbers"], numbers, rtol=1e-6)
    assert columns["codes"].tolist() == [[1], [2], [-1]]
    assert wrong == {2: "has n = 'x'; expected a number"}
    assert unknown == {"c": {"z": 1}}
    features = np.asarray(encoder.features(columns))
    np.testing.assert_array_equal(features[:, 3:], [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(features[:, :3], columns["numbers"])
    with pytest.raises(InputError, match="has no column 'n', 'd'; expected c, n, d"):
        encoder.encode(pa.table({"c": ["a"]}))


def test_a_table_of_categories_alone_and_one_of_very_many():
    values = [f"{row // 2}" for row in range(2 * MOST_CATEGORIES + 10)] + ["0"]
    encoder = fit_encoder(pa.table({"c": values}), {"c": "category"})
    column = encoder.categories["c"]
    assert (len(column.values), column.rare, column.missing) == (MOST_CATEGORIES, 5, 0)
    found = encoder.encode(pa.table({"c": ["0", None]}))
    assert found.columns.keys() == {"codes"}
    features = np.asarray(encoder.features(found.columns))
    assert features.shape == (2, MOST_CATEGORIES) and features.sum(1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["1.5", "2", "3"], "regression"),
        (["1", "0"] * 10, "classification"),
        (list(map(str, range(20))), "regression"),
        ([0.0, 1.0] * 10, "classification"),
        ([True, False], "classification"),
        (["a", "b", "a"], "classification"),
        (["a;b", "c;d"], "classification"),  # splitting makes more different ones
        (["a;b", "b;a", "a", "b"], "multilabel"),
        ([["a"], []], "multilabel"),
    ],
)
def test_the_task_is_inferred_from_the_target(values, task):
    assert infer_task(_column(values), ";") == task


def test_targets_are_read_and_bad_ones_are_named():
    column = _column(["10", "9", None, "10"])
    target = find_target("y", column, "classification", ";")
    assert target.names == ("9", "10")
    values, wrong = encode_target(target, column)
    assert values.tolist() == [1, 0, 0, 1] and wrong == {2: "has no y"}
    assert encode_target(target, _column(["8"])).wrong == {0: "has y = '8', which training lacks"}
    values, wrong = encode_target(find_target("y", column, "regression", ";"), _column(["1", "x"]))
    assert values[0] == 1 and wrong == {1: "has y = 'x'; expected a number"}
    column = _column([["b", "a"], [], None, ["a"]])
    target = find_target("y", column, "auto", ";")
    values, wrong = encode_target(target, column)
    assert target.names == ("a", "b")
    assert values.tolist() == [[1, 1], [0, 0], [0, 0], [1, 0]] and wrong == {2: "has no y"}
    assert "label 'z'" in encode_target(target, _column([["z"]])).wrong[0]
    with pytest.raises(InputError, match="target = y; it has 1 different values"):
        find_target("y", _column(["a", "a"]), "auto", ";")
