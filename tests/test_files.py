"""Files are whole or not there; lines of JSON are read as far as they are whole."""

import pytest

from jaxmodels.files import (
    append_line,
    read_json,
    read_lines,
    whole_folder,
    write_atomically,
    write_json,
)


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": [1, None]})
    assert read_json(path) == {"a": [1, None]}

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert read_json(path) == {"a": [1, None]}
    assert read_json(tmp_path / "none.json") is None
    path.write_text("{")
    assert read_json(path) is None


def test_lines_that_are_not_whole_are_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert read_lines(path) == []
    append_line(path, {"step": 1})
    append_line(path, {"step": 2})
    with open(path, "a") as file:
        file.write('[1]\nnot json\n{"step": 3}')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "whole"
    with pytest.raises(RuntimeError), whole_folder(target) as partial:
        (partial / "a").write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    for text in ("first", "second"):
        with whole_folder(target) as partial:
            (partial / "a").write_text(text)
    assert (target / "a").read_text() == "first"
