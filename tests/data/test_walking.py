"""Folders are listed once, and only regular files of them are opened."""

import os
import socket

import pytest

from jaxmodels.data.walking import open_regular, walk
from jaxmodels.errors import InputError


def _files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def _place(path):
    return "", path.partition("/")[0]


def test_links_are_followed_once_and_never_up(tmp_path):
    root = tmp_path / "root"
    _files(root, "cat/1", "cat/deep/2", "dog/3", "dog/x/4", "dog/y/5")
    _files(tmp_path, "pool/6", "pool/deeper/7")
    for link, target in {
        "dog/again": ".",
        "dog/up": "..",
        "dog/above": str(tmp_path),
        "dog/x/to_y": "../y",
        "dog/y/to_x": "../x",
        "cat/pool": str(tmp_path / "pool"),
        "cat/pool_again": "../cat/pool",
        "cat/round": "round",
        "cat/gone": "nowhere",
        "cat/linked": str(tmp_path / "pool/6"),
    }.items():
        os.symlink(target, root / link)
    walked = walk(root, _place)
    assert {path for path, facts in walked.files.items() if facts} == {
        *("cat/1", "cat/deep/2", "dog/3", "dog/x/4", "dog/y/5"),
        *("cat/pool/6", "cat/pool/deeper/7", "cat/linked"),
    }
    assert {path for path, facts in walked.files.items() if not facts} == {"cat/round", "cat/gone"}
    assert walked.skipped == [
        "cat/pool_again (a link to cat/pool)",
        "dog/above (a link to a folder above it)",
        "dog/again (a link to a folder above it)",
        "dog/up (a link to a folder above it)",
        "dog/x/to_y (a link to dog/y)",
        "dog/y/to_x (a link to dog/x)",
    ]


def test_one_folder_is_not_of_two_classes(tmp_path):
    _files(tmp_path, "cat/1", "dog/2")
    os.symlink("../cat", tmp_path / "dog" / "more")
    with pytest.raises(InputError, match=r"dog/more is the same folder as cat, .* two classes"):
        walk(tmp_path, _place)
    assert walk(tmp_path).skipped == ["dog/more (a link to cat)"]


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path):
    _files(tmp_path, "a/1", ".hidden/2", "a/.DS_Store", "__MACOSX/3")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.symlink("pipe.png", tmp_path / "a" / "to_pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.png"))
        walked = walk(tmp_path)
    os.symlink("/dev/null", tmp_path / "a" / "null.png")
    assert list(walked.files) == ["a/1"] and walked.folders == ["a"]
    assert walked.skipped == [
        "a/pipe.png (a FIFO)",
        "a/to_pipe.png (a FIFO)",
        "socket.png (a socket)",
    ]
    assert "a/null.png (a device)" in walk(tmp_path).skipped
    for name in ("pipe.png", "null.png"):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(tmp_path / "a" / name)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    _files(tmp_path, "cat/1", "dog/2")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"dog cannot be listed: Permission denied"):
        walk(tmp_path)
