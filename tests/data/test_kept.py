"""Entries of the cache are what was written, or are made anew."""

import errno
import os

import numpy as np
import pytest

from jaxmodels.data import kept as module
from jaxmodels.data.kept import MANIFEST, kept, reserve, save_array
from jaxmodels.errors import InputError, RunError

VALUES = np.arange(3000, dtype=np.int32)


class _Maker:
    """Fills an entry of two files, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        save_array(folder / "values.npy", VALUES)
        (folder / "facts.json").write_text('{"good": 3}')


def _flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "flipped": lambda folder: _flip(folder / "values.npy", 2000),
    "flipped header": lambda folder: _flip(folder / "values.npy", 30),
    "flipped facts": lambda folder: _flip(folder / "facts.json", 9),
    "flipped size": lambda folder: _flip(folder / MANIFEST, -10),
    "flipped checksum": lambda folder: _flip(folder / MANIFEST, 11),
    "flipped name": lambda folder: _flip(folder / MANIFEST, 30),
    "cut": lambda folder: os.truncate(folder / "values.npy", 700),
    "longer": lambda folder: (folder / "facts.json").write_text('{"good": 30}'),
    "empty": lambda folder: os.truncate(folder / "facts.json", 0),
    "empty manifest": lambda folder: os.truncate(folder / MANIFEST, 0),
    "nested manifest": lambda folder: (folder / MANIFEST).write_text("[" * 100_000),
    "gone": lambda folder: (folder / "values.npy").unlink(),
    "without a manifest": lambda folder: (folder / MANIFEST).unlink(),
    "all gone": lambda folder: [path.unlink() for path in folder.iterdir()],
    "a FIFO in place of a file": lambda folder: (
        (folder / "facts.json").unlink(),
        os.mkfifo(folder / "facts.json"),
    ),
    "a FIFO in place of the manifest": lambda folder: (
        (folder / MANIFEST).unlink(),
        os.mkfifo(folder / MANIFEST),
    ),
    "a folder in place of a file": lambda folder: (
        (folder / "facts.json").unlink(),
        (folder / "facts.json").mkdir(),
    ),
    "a file in place of the folder": lambda folder: (
        folder.rename(folder.with_name("old")),
        folder.write_text(""),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("later_process", [True, False])
def test_a_damaged_entry_is_made_anew_with_a_note(tmp_path, capsys, damage, later_process):
    make = _Maker()
    folder = kept(tmp_path / "entry", make)
    mapped = np.load(folder / "values.npy", mmap_mode="r")
    capsys.readouterr()
    DAMAGE[damage](folder)
    if later_process:
        module._verified.clear()
    assert kept(folder, make) == folder
    assert make.calls == 2
    said = capsys.readouterr().err
    assert said.startswith(f"note: {folder} ") and said.endswith("; it is made anew\n")
    assert said.count("\n") == 1
    np.testing.assert_array_equal(np.load(folder / "values.npy"), VALUES)
    assert (folder / "facts.json").read_text() == '{"good": 3}'
    assert not list(tmp_path.glob(".*"))
    if damage in ("gone", "without a manifest"):  # who has it mapped keeps it
        np.testing.assert_array_equal(mapped, VALUES)


def test_files_are_read_once_per_process_and_whenever_they_changed(tmp_path, monkeypatch):
    make, read = _Maker(), []
    checksums = module._checksums
    monkeypatch.setattr(module, "_checksums", lambda path: read.append(path) or checksums(path))
    folder = kept(tmp_path / "entry", make)
    written = len(read)
    kept(folder, make)
    assert (make.calls, len(read)) == (1, written)
    module._verified.clear()  # as a later process finds it
    kept(folder, make)
    assert (make.calls, len(read)) == (1, written + 2)
    kept(folder, make)
    assert (make.calls, len(read)) == (1, written + 2)
    os.utime(folder / "values.npy", ns=(1, 1))
    kept(folder, make)
    assert (make.calls, len(read)) == (1, written + 4)


def test_every_bit_of_a_file_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1000)
    path = tmp_path / "values.npy"
    save_array(path, VALUES)
    before = module._checksums(path)
    assert len(before) == -(-path.stat().st_size // 1000)
    for at in (0, 999, 1000, 5555, path.stat().st_size - 1):
        _flip(path, at)
        assert module._checksums(path) != before
        _flip(path, at)
    assert module._checksums(path) == before


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, RunError), (errno.EACCES, InputError)])
def test_what_cannot_be_written_names_the_variable(tmp_path, number, kind):
    def make(folder):
        raise OSError(number, os.strerror(number), str(folder / "values.npy"))

    with pytest.raises(kind, match=rf"{os.strerror(number)}.*JAXMODELS_CACHE"):
        kept(tmp_path / "entry", make)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="JAXMODELS_CACHE"):
        kept(tmp_path / "file" / "entry", _Maker())


def test_room_is_taken_before_a_map_is_written(tmp_path):
    path = tmp_path / "values.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (1 << 20,))
    reserve(path)
    assert path.stat().st_blocks * 512 >= 1 << 20


def test_a_trusted_entry_is_read_once_by_all_processes(tmp_path, monkeypatch):
    make, read = _Maker(), []
    checksums = module._checksums
    folder = kept(tmp_path / "entry", make, trusted=True)
    monkeypatch.setattr(module, "_checksums", lambda path: read.append(path) or checksums(path))
    module._verified.clear()  # as a later process finds it
    kept(folder, make, trusted=True)
    assert not read
    module._verified.clear()
    kept(folder, make)  # who does not trust reads
    assert len(read) == 2
    for damage in ("flipped", "cut", "gone"):
        module._verified.clear()
        DAMAGE[damage](folder)
        made = make.calls
        kept(folder, make, trusted=True)
        assert make.calls == made + 1
    # A note that cannot be read or trusted is none.
    for note in ("[", "[[1, 2, 3, 4]]"):
        module._verified.clear()
        (folder / "verified.json").write_text(note)
        read.clear()
        kept(folder, make, trusted=True)
        assert len(read) == 2
