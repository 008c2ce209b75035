"""Nothing is lost, whatever befalls a run: some faults of each kind, with -m faults.

`python -m tests.faults` injects the same faults and prints the table.
"""

import subprocess
import sys

import pytest

from tests.faults.__main__ import table
from tests.faults.cases import Case, Ended
from tests.faults.kinds import Fault, _judged
from tests.faults.operations import watched

pytestmark = pytest.mark.faults


def _campaign(*flags):
    """Runs the campaign in a process of its own: after saves that fail, libraries leave behind what
    pytest complains about."""
    command = [sys.executable, "-m", "tests.faults", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=3000)


def test_one_of_each_kind_of_a_classifier():
    done = _campaign("--cases", "classifier", "--most", "1")
    assert done.returncode == 0, done.stderr
    injected = done.stdout.splitlines()[-1].split(" | ")
    assert injected[0] == "| all" and int(injected[1]) >= 12
    assert injected[-2:] == ["0", "0 |"]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("streamed", "kills moved_data damaged_cache processes"),
        ("language_model", "kills damage damaged_cache"),
    ],
)
def test_some_of_what_other_data_bring(name, kinds):
    """All faults of all cases are injected on demand, by `python -m tests.faults`."""
    done = _campaign("--cases", name, "--most", "1", "--only", *kinds.split())
    assert done.returncode == 0, done.stderr


def test_a_change_is_seen_before_it_happens_and_elsewhere_nothing_is(tmp_path):
    there = []
    folder = tmp_path / "run"
    with watched(folder, lambda operation: there.append(folder.exists())) as seen:
        (tmp_path / "other").mkdir()
        folder.mkdir()
        (folder / "a").write_text("a")
        (folder / "a").rename(folder / "b")
        (folder / "b").read_text()
    assert [operation.name for operation in seen] == ["mkdir", "open", "rename"]
    assert there == [False, True, True]


def test_a_run_that_gives_other_bytes_is_lost_and_a_traceback_is_a_failure(tmp_path):
    case = Case("classifier", tmp_path / "cases")
    good, other = Ended(0, "", ""), tmp_path / "other"
    assert case.reference and case.run(other, seed=1).code == 0
    assert _judged("k", case, "w", other, good).outcome == "lost"
    assert _judged("k", case, "w", case.whole, good).outcome == "survived"
    line = Ended(1, "", "failed: the disk is full")
    assert _judged("k", case, "w", case.whole, line, good).outcome == "refused"
    for bad in (
        Ended(1, "", "Traceback\nfailed: x"),
        Ended(None, "", ""),
        Ended(3, "", "error: x"),
    ):
        assert _judged("k", case, "w", case.whole, bad, good).outcome == "failed"
    rows = table([Fault("k", "c", "w", "lost"), Fault("k", "c", "w", "survived")]).splitlines()
    assert rows[2] == "| k | 2 | 1 | 0 | 0 | 1 |"
