"""A record is a run's own, or it is said what is wrong with it."""

import json

import pytest

from jaxmodels.errors import InputError
from jaxmodels.run_record import (
    FORMAT,
    is_line,
    is_number,
    read_record,
    read_what_is_good,
    seal_record,
)

GOOD = {
    "format": FORMAT,
    "experiment": "classifier",
    "command": "python -m experiments.classifier",
    "monitor": ["loss", "min"],
    "scores": {"loss": {"better": "lower", "unit": "nats", "meaning": "cross-entropy"}},
    "config": {"steps": 10, "learning_rate": 0.1},
    "identity": {"steps": 10},
    "source": "abc",
    "facts": {},
    "environment": {},
}


def _write(path, record):
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_what_was_written_is_read(tmp_path):
    sealed = seal_record(GOOD)
    assert read_record(_write(tmp_path / "a.json", sealed)) == sealed
    assert seal_record(sealed) == sealed


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ("{", "holds no JSON object"),
        ([1], "holds no JSON object"),
        ("[" * 200_000, "holds no JSON object"),
        ({**GOOD, "config": [1]}, "'config' is \\[1\\]"),
        ({name: value for name, value in GOOD.items() if name != "facts"}, "has no 'facts'"),
        ({**GOOD, "format": True}, "'format' is True"),
        ({**GOOD, "format": FORMAT + 1}, "this version reads up to"),
        ({**GOOD, "format": 2, "monitor": ["loss", "up"]}, "'monitor' is"),
        ({**GOOD, "format": 2, "scores": {"loss": 3}}, "score 'loss' is 3"),
        ({**GOOD, "format": 2, "facts": json.loads("[" * 50 + "]" * 50)}, "'facts' is"),
        ({**GOOD, "format": 2, "facts": {"a": json.loads("[" * 50 + "]" * 50)}}, "nested more"),
        (seal_record(GOOD) | {"config": {"steps": 11}}, "changed since it was written"),
        (GOOD, "changed since it was written"),
    ],
)
def test_what_is_wrong_is_said_and_the_copy_read(tmp_path, damaged, says):
    path, copy = _write(tmp_path / "config.json", damaged), tmp_path / "copy.json"
    with pytest.raises(InputError, match=f"config.json is not the record of a run: .*{says}"):
        read_record(path, copy)
    assert read_record(path, _write(copy, seal_record(GOOD))) == seal_record(GOOD)


def test_a_record_of_an_older_version_has_no_checksum(tmp_path):
    old = {name: GOOD[name] for name in ("experiment", "config", "identity", "source")}
    old |= {"facts": {}, "environment": {}}
    assert read_record(_write(tmp_path / "a.json", old)) == old


def test_who_only_shows_a_run_reads_what_is_good_of_an_older_one(tmp_path):
    old = {"experiment": "vae", "config": {}, "facts": 3, "monitor": ["loss", "up"]}
    old |= {"scores": {"loss": 3, "elbo": {"better": "higher"}}, "own": [1]}
    path, copy = _write(tmp_path / "config.json", old), tmp_path / "copy.json"
    good = {"experiment": "vae", "config": {}, "scores": {"elbo": {"better": "higher"}}, "own": [1]}
    assert read_what_is_good(path, copy) == good
    for bad in ({"config": {}}, {**old, "config": 1}, seal_record(GOOD) | {"source": "edited"}):
        with pytest.raises(InputError, match="is not the record of a run"):
            read_what_is_good(_write(path, bad), copy)
    assert read_what_is_good(path, _write(copy, seal_record(GOOD))) == seal_record(GOOD)


def test_numbers_and_lines_are_what_a_run_writes():
    numbers = [0, -1.5, 10**400, float("nan"), True, "1", None]
    assert [is_number(value) for value in numbers] == [True, True, *[False] * 5]
    assert is_line({"step": 3, "split": "train", "loss": 0.5, "accuracy": None})
    for bad in ({"step": -1}, {"step": True}, {"step": 2**60}, {"split": 3}, {"loss": "low"}):
        assert not is_line({"step": 3, "split": "train"} | bad)
    assert not is_line({"step": 3, "loss": 1.0})
