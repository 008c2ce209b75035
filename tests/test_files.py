"""Files are whole or not there; lines of JSON are read as far as they are whole."""

import errno
import os
from pathlib import Path

import pytest

from jaxmodels.errors import InputError
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_error_of_an_open_file_has_its_name(tmp_path):
    """Python names the file only where opening it fails."""

    def fail(file):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"a")

    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "file.json", fail)
    assert caught.value.filename == str(tmp_path / "file.json")
    assert caught.value.errno == errno.ENOSPC


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


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_regular_files_are_replaced(tmp_path, kind):
    path, mine = tmp_path / "out.jsonl", tmp_path / "mine"
    mine.write_text("mine")
    {"pipe": os.mkfifo, "link": lambda p: p.symlink_to(mine), "folder": Path.mkdir}[kind](path)
    before = path.lstat().st_mode
    with pytest.raises(InputError, match=rf"out.jsonl is a {kind}; expected a regular file"):
        write_json(path, 1)
    assert (path.lstat().st_mode, mine.read_text()) == (before, "mine")
    with pytest.raises(InputError, match="/dev/null is a device"):
        write_json(Path("/dev/null"), 1)


def test_lines_are_not_added_to_what_a_link_names(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "lines.jsonl").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic link"):
        append_line(tmp_path / "lines.jsonl", {"step": 1})
    assert mine.read_text() == "mine"


def test_what_is_nested_too_deep_holds_no_value(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    assert read_json(path) is None
    assert read_lines(path) == []


def test_a_partial_file_of_somebody_else_s_is_not_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".a.json.partial").symlink_to(mine)
    write_json(tmp_path / "a.json", 1)
    assert (read_json(tmp_path / "a.json"), mine.read_text()) == (1, "mine")
