"""Tables of files and of memory."""

import datetime
import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxmodels.data.tables import reading
from jaxmodels.data.tables.reading import joined, pieces_of_rows, read_pieces
from jaxmodels.errors import InputError


def _read(path):
    whole = joined(read_pieces(path))
    return whole.table.to_pydict(), whole.errors


def test_texts_without_space_around_them_and_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_ROWS", 2)
    path = tmp_path / "a.csv"
    path.write_text('\ufeffa , "b, c",\n1, "x\ny" ,?\n\n 2,NA,3\n4\n5,,  nan\n', "utf-8")
    found, errors = _read(path)
    assert found == {
        "a": ["1", "2", None, "5"],
        "b, c": ["x\ny", None, None, None],
        "column 3": [None, "3", None, None],
    }
    assert errors == {2: "has 1 of 3 values; expected one for each name"}


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_any_usual_mark_divides_values(tmp_path, mark, is_packed):
    text = f"a{mark}b\n1{mark}x\n"
    path = tmp_path / ("a.csv" + ".gz" * is_packed)
    path.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())
    assert _read(path) == ({"a": ["1"], "b": ["x"]}, {})


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table(
        {
            "n": pa.array([1.5, None], pa.float64()),
            "c": pa.array(["x ", "NA"]).dictionary_encode(),
            "when": [datetime.date(2024, 1, 2), None],
            "many": pa.array([["a"], []], pa.large_list(pa.string())),
            "d": pa.array([1, 2]).cast(pa.decimal128(20, 1)),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    found, errors = _read(tmp_path / "a.parquet")
    assert found == {
        "n": [1.5, None],
        "c": ["x", None],
        "when": [datetime.date(2024, 1, 2), None],
        "many": [["a"], []],
        "d": [1.0, 2.0],
    }
    assert not errors


class _Frame:
    """What pandas and polars have in common: Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table({"a": [1, 2], "b": ["x", None]}).__arrow_c_stream__(requested_schema)


def test_rows_of_memory(monkeypatch):
    monkeypatch.setattr(reading, "_ROWS", 1)
    wanted = {"a": [1, 2], "b": ["x", None]}
    for rows in ([{"a": 1, "b": "x"}, {"a": 2}], wanted, {"a": np.arange(1, 3), "b": ["x", ""]}):
        assert joined(pieces_of_rows(rows)).table.to_pydict() == wanted
    assert joined(pieces_of_rows(_Frame())).table.to_pydict() == wanted
    for rows in (3, [1, 2], {"a": [1], "b": [1, 2]}, {"a": [1, "x"]}):
        with pytest.raises(InputError, match="cannot be read"):
            joined(pieces_of_rows(rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("a.xlsx", b"x", r"ends in .xlsx; expected .csv, .*: save it as CSV"),
        ("a.csv", b"", "is empty; expected a line of names"),
        ("a.csv", b"a,b,a\n1,2,3\n", "has several columns 'a'"),
        ("a.csv", b"1.5,2,x\n1,2,y\n", "begins with values, 1.5,2,x; expected names"),
        ("a.csv", "a\n\xe9\n".encode("latin1"), "is no UTF-8; convert it: iconv"),
        ("a.csv.gz", b"a,b\n", "cannot be read: Not a gzipped file"),
        ("a.csv", b"a\n" + b"x" * 200_000 + b"\n", "cannot be read: field larger"),
        ("a.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        list(read_pieces(path))
    assert "\n" not in str(raised.value)


def test_a_folder_and_values_of_no_known_kind_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"is a folder; .*1 file ending in .png: images are read"):
        list(read_pieces(tmp_path))
    table = pa.table({"a": [{"x": 1}]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'a' has values of struct"):
        list(read_pieces(tmp_path / "a.parquet"))
