"""Nothing is lost, whatever befalls a run: some faults of each kind, with -m faults.

`python -m tests.faults` injects the same faults and prints the table.
"""

import pytest

from tests.faults.__main__ import table
from tests.faults.cases import FLAGS, Case
from tests.faults.kinds import KINDS, Fault
from tests.faults.operations import watched
from tests.marks import slow

pytestmark = [
    pytest.mark.faults,
    # A save that fails leaves objects of libraries behind.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
]


def _bad(faults):
    return [fault for fault in faults if fault.outcome in ("failed", "lost")]


def test_a_few_of_each_kind(tmp_path):
    case = Case("classifier", tmp_path / "cases")
    faults = [
        fault for name, kind in KINDS.items() for fault in kind(case, tmp_path / name, FEW[name])
    ]
    assert not _bad(faults)
    assert len(faults) >= 20


# Those that start processes take longest.
FEW = dict.fromkeys(KINDS, 2) | {"errors": 3, "damage": 4, "processes": 1}


@pytest.mark.parametrize("name", [*map(slow, FLAGS)])
def test_many_of_each_kind(tmp_path, name):
    case = Case(name, tmp_path / "cases")
    for kind, inject in KINDS.items():
        assert not _bad(inject(case, tmp_path / kind, 12))


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
    from tests.faults.cases import Ended
    from tests.faults.kinds import _judged

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
