"""Fingerprints are of content, and a file is read once as long as nothing of it changes."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxmodels.data import content
from jaxmodels.data.content import content_hashes, fingerprint_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_SETTLED", -(10**18))  # files of this moment are remembered
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch):
    """The files that are opened, in their order."""
    opened, real = [], content._hash
    monkeypatch.setattr(content, "_hash", lambda path: opened.append(path) or real(path))
    return opened


def _write(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in contents}


def test_content_and_names_count_and_nothing_else(tmp_path):
    one = _write(tmp_path / "one", {"a": "x", "b": "y"})
    fingerprint = fingerprint_of("data", one, tmp_path / "one")
    copy = _write(tmp_path / "copy", {"b": "y", "a": "x"})
    for path in copy.values():
        os.utime(path, ns=(5, 5))
    assert fingerprint_of("other", copy, tmp_path / "copy") == fingerprint
    for contents in ({"a": "y", "b": "x"}, {"a": "x", "c": "y"}, {"a": "x"}, {"a": "xy", "b": ""}):
        folder = tmp_path / repr(sorted(contents.items()))
        assert fingerprint_of("data", _write(folder, contents), folder) != fingerprint


def test_equal_names_sizes_and_times_are_other_data(tmp_path):
    found = set()
    for text in ("x", "y"):
        files = _write(tmp_path / text / "same", {"a": text})
        os.utime(files["a"], ns=(0, 0))
        found.add(fingerprint_of("same", files, tmp_path / text / "same"))
    assert len(found) == 2


@pytest.mark.parametrize("way", ["written in place", "replaced"])
def test_a_file_changed_to_equal_size_and_time_is_noticed(tmp_path, way):
    files = _write(tmp_path, {"a": "x" * 9, "b": "z"})
    os.utime(files["a"], ns=(7, 7))
    before = fingerprint_of("data", files, tmp_path)
    if way == "replaced":
        (tmp_path / "new").write_text("y" * 9)
        os.utime(tmp_path / "new", ns=(7, 7))
        os.replace(tmp_path / "new", files["a"])
    else:
        files["a"].write_text("y" * 9)
        os.utime(files["a"], ns=(7, 7))
    assert fingerprint_of("data", files, tmp_path) != before


def test_each_file_is_read_once(tmp_path, read):
    files = _write(tmp_path, {"a": "x", "b": "y", "c": "z"})
    first = fingerprint_of("data", files, tmp_path)
    assert len(read) == 3
    assert fingerprint_of("data", files, tmp_path) == first
    assert len(read) == 3
    _write(tmp_path, {"b": "w"})
    assert fingerprint_of("data", files, tmp_path) != first
    assert [path.name for path in read[3:]] == ["b"]


def test_files_that_are_gone_are_forgotten(tmp_path, cache):
    folder, sizes = tmp_path / "data", []
    for names in ("ab", "bc"):
        files = _write(folder, dict.fromkeys(names, "x"))
        fingerprint_of("data", files, folder)
        [known] = (cache / "data" / "hashes").iterdir()
        sizes.append(known.stat().st_size)
    assert sizes[0] == sizes[1]


def test_a_file_of_this_moment_is_not_trusted(tmp_path, read, monkeypatch):
    """One more change might carry the same time."""
    monkeypatch.setattr(content, "_SETTLED", 2_000_000_000)
    files = _write(tmp_path, {"a": "x"})
    for count in (1, 2):
        content_hashes("data", files.values(), tmp_path)
        assert len(read) == count


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_memory_is_said_and_hashed_anew(tmp_path, cache, capsys, read, damage):
    files = _write(tmp_path / "data", {"a": "x", "b": "y"})
    first = content_hashes("data", files.values(), tmp_path / "data")
    (path,) = (cache / "data" / "hashes").iterdir()
    kept = path.read_bytes()
    flipped = kept[:-3] + bytes([kept[-3] ^ 1]) + kept[-2:]
    path.write_bytes({"flipped": flipped, "cut": kept[:-5], "empty": b""}[damage])
    assert content_hashes("data", files.values(), tmp_path / "data") == first
    assert len(read) == 4
    assert capsys.readouterr().err == f"note: {path} is damaged; files are hashed anew\n"
    assert content_hashes("data", files.values(), tmp_path / "data") == first
    assert len(read) == 4


def test_what_cannot_be_read_is_no_error_here(tmp_path):
    files = {"gone": tmp_path / "gone"} | _write(tmp_path, {"a": "x"})
    os.mkfifo(tmp_path / "pipe")
    files["pipe"] = tmp_path / "pipe"
    before = fingerprint_of("data", files, tmp_path)
    assert fingerprint_of("data", files, tmp_path) == before
    _write(tmp_path, {"gone": ""})
    assert fingerprint_of("data", files, tmp_path) != before


def test_processes_may_hash_the_same_files_at_once(tmp_path):
    files = _write(tmp_path, {str(name): str(name) for name in range(50)})
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: fingerprint_of("data", files, tmp_path), range(40)))
    assert len(found) == 1
    assert [path.name[0] == "." for path in (tmp_path / "cache/data/hashes").iterdir()] == [False]
