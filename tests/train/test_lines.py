"""Lines of metrics are those that a checkpoint stands for, whatever became of the file."""

import pytest

from jaxmodels.errors import InputError
from jaxmodels.train.lines import Lines

DAMAGE = {
    "missing": lambda lines: lines[:1] + lines[2:],
    "doubled": lambda lines: lines[:2] + lines[1:],
    "swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "changed": lambda lines: [lines[0].replace(b"0.5", b"0.6"), *lines[1:]],
    "binary": lambda lines: [b"\x00\xff\xfe" + lines[0], *lines[1:]],
    "cut": lambda lines: [b"".join(lines)[:20]],
    "empty": lambda lines: [],
}


def _write(tmp_path, count=4):
    lines = Lines(tmp_path / "metrics.jsonl", tmp_path / "copy.jsonl")
    for step in range(count):
        lines.append({"step": step, "loss": 0.5})
    return lines


@pytest.mark.parametrize("kind", [*DAMAGE, "deleted"])
def test_a_damaged_file_is_mended_from_its_copy(tmp_path, capsys, kind):
    lines = _write(tmp_path)
    count, digest = lines.seal()
    whole = lines.path.read_bytes()
    lines.append({"step": 4, "loss": 0.25})  # after the checkpoint
    if kind == "deleted":
        lines.path.unlink()
    else:
        damaged = DAMAGE[kind](lines.path.read_bytes().splitlines(keepends=True))
        lines.path.write_bytes(b"".join(damaged))
    again = Lines(lines.path, tmp_path / "copy.jsonl")
    assert not again.holds(count, digest)
    again.restore(count, digest)
    assert lines.path.read_bytes() == whole == (tmp_path / "copy.jsonl").read_bytes()
    assert "metrics.jsonl was damaged; its 4 lines" in capsys.readouterr().err
    again.append({"step": 4, "loss": 0.125})
    assert again.holds(*again.seal())
    assert again.read()[-1] == {"step": 4, "loss": 0.125}


def test_a_damaged_copy_is_written_anew_and_later_lines_are_dropped(tmp_path, capsys):
    lines = _write(tmp_path)
    sealed = lines.seal()
    lines.append({"step": 4})
    (tmp_path / "copy.jsonl").write_bytes(b"nothing")
    Lines(lines.path, tmp_path / "copy.jsonl").restore(*sealed)
    assert lines.path.read_bytes() == (tmp_path / "copy.jsonl").read_bytes()
    assert [line["step"] for line in lines.read()] == [0, 1, 2, 3]
    assert capsys.readouterr().err == ""


def test_damage_to_both_is_refused_and_changes_nothing(tmp_path):
    lines = _write(tmp_path)
    sealed = lines.seal()
    for path in (lines.path, tmp_path / "copy.jsonl"):
        path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))
    before = lines.path.read_bytes()
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged, and so is its copy"):
        Lines(lines.path, tmp_path / "copy.jsonl").restore(*sealed)
    assert lines.path.read_bytes() == before
