"""Tables by flags: columns, targets, splits and bad rows."""

import numpy as np
import pyarrow as pa
import pytest

from jaxmodels.data.tables import TableDataConfig, load_table, read_rows, rows_elsewhere
from jaxmodels.data.tables.splitting import splits_by_content
from jaxmodels.errors import InputError


def _rows(count=100, seed=0):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, count))
    colours = generator.choice(["red", "green", "blue"], count)
    return {
        "id": list(range(count)),
        "x": x.tolist(),
        "colour": colours.tolist(),
        "unit": ["m"] * count,
        "y": (2 * x + y).tolist(),
    }


def _csv(path, rows):
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values()))]
    path.write_text("\n".join(lines) + "\n")
    return path


def _config(path, **flags):
    return TableDataConfig(data=str(path), target="y", **flags)


def test_columns_of_a_file_and_what_is_said_of_them(tmp_path):
    rows = _rows()
    rows["x"][3] = rows["colour"][3] = ""
    data = load_table(_config(_csv(tmp_path / "a.csv", rows)))
    assert data.left_out == {"id": "numbers of the rows", "unit": "constant"}
    assert sum(data.sizes.values()) == 100 and data.sizes.keys() == {"train", "validation", "test"}
    assert sorted(np.concatenate(list(data.rows.values()))) == list(range(100))
    train = data.splits["train"]
    has_gap = 3 in data.rows["train"]
    assert train["numbers"].shape == (data.sizes["train"], 1 + has_gap)
    assert train["target"].mean() == pytest.approx(0, abs=1e-6)
    assert train["target"].std() == pytest.approx(1, abs=1e-6)
    said = data.summary()
    assert "columns: 1 of numbers, 1 of categories\ntarget: y, regression" in said
    assert "left out: id (numbers of the rows), unit (constant)" in said
    assert ("missing: x 1, colour 1 (numbers are" in said) == has_gap
    facts = data.facts()
    assert facts["target"].keys() == {"column", "task", "mean", "std"}
    assert data.source("test").key(0) == f"a.csv:{data.rows['test'][0] + 1}"


def test_content_alone_decides_the_fingerprint_and_the_split(tmp_path):
    rows = _rows()
    data = load_table(_config(_csv(tmp_path / "a.csv", rows)))
    (tmp_path / "b").mkdir()
    moved = load_table(_config(_csv(tmp_path / "b/c.csv", rows)))
    assert moved.fingerprint == data.fingerprint
    kept = {name: values[:50] + values[60:] for name, values in rows.items()}
    fewer = load_table(_config(_csv(tmp_path / "fewer.csv", kept)))
    assert fewer.fingerprint != data.fingerprint
    for split, where in data.rows.items():
        there = [row - 10 * (row >= 60) for row in where.tolist() if not 50 <= row < 60]
        assert fewer.rows[split].tolist() == there
    rows["y"][0] += 1
    assert load_table(_config(_csv(tmp_path / "a.csv", rows))).fingerprint != data.fingerprint


def test_equal_rows_are_in_one_split_and_shares_do_not_move_each_other():
    table = pa.table({"a": list(range(500)) * 2, "b": [None, "x"] * 500})
    splits = splits_by_content(table, ["a", "b"], 0.1, 0.2)
    sizes = {split: len(rows) for split, rows in splits.items()}
    assert 70 <= sizes["validation"] <= 130 and 160 <= sizes["test"] <= 240
    for rows in splits.values():
        assert set(rows.tolist()) == {(row + 500) % 1000 for row in rows.tolist()}
    other = splits_by_content(table, ["a", "b"], 0.3, 0.2)
    np.testing.assert_array_equal(other["test"], splits["test"])
    assert set(splits["validation"]) < set(other["validation"])
    assert splits_by_content(table, ["a"], 0, 0).keys() == {"train"}


def test_a_column_says_the_split():
    rows = _rows(6) | {"part": ["Train", "train", "val", "test", "training", "testing"]}
    data = load_table(TableDataConfig(target="y", split="part"), rows)
    found = {split: where.tolist() for split, where in data.rows.items()}
    assert found == {"train": [0, 1, 4], "validation": [2], "test": [3, 5]}
    assert "part" not in data.encoder.columns and "part" not in data.left_out
    for value, message in (("dev", "row 6 has 'dev' there"), (None, "row 6 has '' there")):
        rows["part"][5] = value
        with pytest.raises(InputError, match=message):
            load_table(TableDataConfig(target="y", split="part"), rows)


def test_bad_rows_are_listed_or_left_out(tmp_path, capsys):
    rows = _rows()
    rows["y"][2], rows["x"][5] = "", "high"
    path = _csv(tmp_path / "a.csv", rows)
    with open(path, "a") as file:
        file.write("1,2\n")
    with pytest.raises(InputError) as raised:
        load_table(_config(path))
    said = str(raised.value)
    assert "has 3 bad records (1 target, 1 value, 1 broken)" in said
    assert (
        "a.csv[3]: has no y; a.csv[6]: has x = 'high'; expected a number; a.csv[101]: has 2" in said
    )
    listed = said.split("The whole list: ")[1].split(". Mend")[0]
    with open(listed) as file:
        assert len(file.readlines()) == 3
    data = load_table(_config(path, skip_bad_records=3))
    assert "note: skipped 3 bad records" in capsys.readouterr().err
    assert sum(data.sizes.values()) == 98 and data.facts()["skipped"]["count"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": "irsi"}, "data 'irsi' is no file; did you mean 'iris'?"),
        ({"data": "digits"}, "data 'digits' is no file, it holds images: images are read by"),
        ({"target": ""}, "target = ''; expected the column of 'rows' to predict, --target"),
        ({"target": "z"}, "unknown target column 'z'"),
        ({"ignore": ("colours",)}, "unknown ignore column 'colours'; did you mean 'colour'?"),
        ({"ignore": ("x", "colour")}, "there is no other column to learn from: id"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "less than 1 together"),
        ({"separator": ""}, "separator = ''"),
        ({"skip_bad_records": -1}, "skip_bad_records = -1"),
        ({"validation_fraction": 0.0, "test_fraction": 0.999}, "no row to train with"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message):
    rows = None if "data" in flags else _rows(20)
    with pytest.raises(InputError, match=message):
        config = TableDataConfig(**{"target": "y", **flags})
        config.validate()
        load_table(config, rows)


def test_new_rows_are_read_as_the_training_rows_were(tmp_path, capsys):
    rows = _rows()
    data = load_table(_config(_csv(tmp_path / "a.csv", rows)))
    new = {name: rows[name][:4] for name in ("colour", "x")}
    new["x"][1], new["colour"][2] = "?", "pink"
    path = _csv(tmp_path / "new.csv", new)
    with open(path, "a") as file:
        file.write("red,high\nred\n")
    found = list(read_rows(path, data))
    assert [name for name, _ in found] == [f"new.csv:{row}" for row in range(1, 7)]
    assert str(found[4][1]) == "has x = 'high'; expected a number"
    assert str(found[5][1]) == "has 1 of 2 values; expected one for each name"
    assert "1 rows have a colour that training had not; it counts as none of its: pink 1" in (
        capsys.readouterr().err
    )
    memory = [{"x": rows["x"][row], "colour": rows["colour"][row]} for row in (0, 3)]
    again = list(read_rows(memory, data))
    assert [name for name, _ in again] == ["0", "1"]
    for (_, one), row in zip(again, (0, 3), strict=True):
        assert {name: value.tolist() for name, value in one.items()} == {
            name: value.tolist() for name, value in found[row][1].items()
        }


def test_other_rows_have_the_classes_of_the_run(tmp_path):
    rows = _rows() | {"y": ["a", "b"] * 50}
    data = load_table(_config(_csv(tmp_path / "a.csv", rows)))
    other = _rows(10, seed=1) | {"y": ["b"] * 10}
    path = _csv(tmp_path / "other.csv", other)
    name, fingerprint, columns = rows_elsewhere(data, _config(path))
    assert name == "other.csv" and fingerprint != data.fingerprint
    assert columns["target"].tolist() == [1] * 10
    with pytest.raises(InputError, match=r"1 bad record .* has y = 'c', which training lacks"):
        rows_elsewhere(data, _config(_csv(path, other | {"y": ["b"] * 9 + ["c"]})))
    del other["y"]
    with pytest.raises(InputError, match="has no column 'y'"):
        rows_elsewhere(data, _config(_csv(path, other)))


@pytest.mark.parametrize(
    ("name", "size", "task"),
    [
        ("breast_cancer", (569, 30), "classification"),
        ("diabetes", (442, 10), "regression"),
        ("iris", (150, 4), "classification"),
        ("wine", (178, 13), "classification"),
    ],
)
def test_embedded_tables(name, size, task):
    data = load_table(TableDataConfig(data=name))
    assert (sum(data.sizes.values()), len(data.encoder.columns)) == size
    assert data.target.task == task and data.target.column == "target"
