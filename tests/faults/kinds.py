"""The kinds of faults. Each is injected into runs, and says of every fault how it ended."""

import contextlib
import errno
import functools
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from jaxmodels import interrupts
from jaxmodels.cache import cache_folder
from tests.faults.cases import FLAGS, Case, Ended, copy_folder
from tests.faults.operations import Operation, watched
from tests.faults.victim import IMPORT, MOMENTS

_FEWEST = 120  # a run changes files more often than this
OUTCOMES = ("survived", "refused", "failed", "lost")


class Fault(NamedTuple):
    """One fault and its outcome.

    survived: the same command ends, and gives the bytes of an undisturbed run. refused: it ended
    with one line, and after the fault was taken away it gives these bytes. failed: a traceback, a
    hang, another exit code or several lines. lost: other bytes.
    """

    kind: str
    case: str
    what: str
    outcome: str
    said: str = ""


def _judged(kind: str, case: Case, what: object, folder: Path, *ends: Ended) -> Fault:
    """Judges a run by how its commands ended, the last of which met no fault."""
    refused = any(ended.code != 0 for ended in ends)
    said = "\n".join(ended.error for ended in ends if ended.code != 0)
    good = all(ended.code == 0 or ended.is_one_line for ended in ends[:-1])
    if not good or (ends[-1].code is None):
        outcome = "failed"
    elif ends[-1].code != 0 or not case.is_whole(folder):
        outcome = "lost"
    else:
        outcome = "refused" if refused else "survived"
    return Fault(kind, case.name, str(what), outcome, said)


def _some(length: int, most: int) -> list[int]:
    """At most so many of the numbers below a length, evenly spread, another choice for each."""
    if length <= most:
        return list(range(length))
    chance = random.Random(length * 1000 + most)
    return sorted(chance.sample(range(length), most))


def kills(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The process dies before a change of a file: what lies in the folder then is all there is.

    One run is watched, and a copy of its folder taken ahead of every change; each copy is then what
    a kill leaves, and the same command goes on from it.
    """
    assert case.reference
    yield from _from_copies("kill", case, folder, most)


def kills_in_resuming(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The same while a run that was killed before goes on."""
    assert case.reference

    copy_folder(stopped(case), folder / "run")
    yield from _from_copies("kill while resuming", case, folder, most)


def _from_copies(kind: str, case: Case, folder: Path, most: int) -> Iterator[Fault]:
    for operation, copy in _copies(folder, most, case.run):
        yield _judged(kind, case, operation, copy, case.run(copy))
        shutil.rmtree(copy)


def _copies(
    folder: Path, most: int, start: Callable[[Path], Ended]
) -> Iterator[tuple[Operation, Path]]:
    """What lies in a run's folder ahead of its changes, each state once."""
    run, copies, states = folder / "run", [], set()
    # A short campaign does not copy what it leaves out.
    kept = set(_some(_FEWEST, 3 * most)) if 3 * most < _FEWEST else None

    def keep(operation: Operation) -> None:
        if not run.exists() or (kept and operation.number not in kept):
            return
        copy = folder / f"{operation.number:04d}"
        copy_folder(run, copy)
        state = _state(copy)
        if state in states:
            shutil.rmtree(copy)
        else:
            states.add(state)
            copies.append((operation, copy))

    with watched(run, keep, alone=True):
        ended = start(run)
    assert ended.code == 0, ended.error
    for at in _some(len(copies), most):
        yield copies[at]


def _state(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(path.read_bytes() if path.is_file() else b"/")
    return digest.digest()


def kills_in_overwriting(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The process dies while a run with another seed replaces a finished one. The old command finds
    its run whole, or the old run is still put aside, or the new one has saved something; the new
    command then ends as if never killed."""
    assert case.reference
    copy_folder(case.whole, folder / "run")
    overwrite = functools.partial(case.run, more=("--overwrite",), seed=1)
    for operation, copy in _copies(folder, most, overwrite):
        shutil.copytree(copy, folder / "again", dirs_exist_ok=True)
        old, outcome = case.run(folder / "again"), "survived"
        kept = old.code == 0 and case.is_whole(folder / "again")
        aside = (copy / ".replaced" / "config.json").exists()
        saved = any(path.name.isdigit() for path in (copy / "checkpoints").glob("*"))
        replaced = old.code == 2 and old.is_one_line and (aside or saved)
        ended = overwrite(copy)
        if old.code is None or ended.code is None:
            outcome = "failed"
        elif not (kept or replaced) or ended.code != 0 or not case.is_whole(copy, seed=1):
            outcome = "lost"
        yield Fault(
            "kill while overwriting", case.name, str(operation), outcome, old.error + ended.error
        )
        shutil.rmtree(copy)
        shutil.rmtree(folder / "again")


def stopped(case: Case) -> Path:
    """A run that was asked to stop in the middle, made once."""
    folder = case.root / f"stopped-{case.name}"
    if not folder.exists():
        written = []

        def stop(operation: Operation) -> None:
            # The first steps of a second window of metrics are on the disk.
            if operation.path == "/speed.jsonl":
                written.append(operation)
                if len(written) == 2:
                    case.stop()

        with watched(folder, stop):
            ended = case.run(folder)
        assert ended.code == 75, ended
    return folder


def signals(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """SIGTERM or Ctrl-C ahead of a change of a file."""
    assert case.reference
    operations = case.operations
    for index, at in enumerate(_some(len(operations), most)):
        run, kind = folder / str(at), (signal.SIGTERM, signal.SIGINT)[index % 2]

        def send(operation: Operation, at=at, kind=kind) -> None:
            # Elsewhere a signal ends the process at once, as a kill does.
            if operation.number == at and interrupts._watch.is_met:
                os.kill(os.getpid(), kind)

        with watched(run, send):
            ended = case.run(run)
        what = f"{kind.name} at {operations[at]}"
        yield _judged("signal", case, what, run, ended, case.run(run))


def two_processes(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """Another process begins in the same folder ahead of a change of a file: with the same command,
    or with another seed."""
    assert case.reference
    operations = case.operations
    for index, at in enumerate(_some(len(operations), most)):
        run, seed, inner = folder / str(at), index % 2, []

        def begin(operation: Operation, at=at, run=run, seed=seed, inner=inner) -> None:
            if operation.number == at and not inner:
                inner.append(None)
                inner[0] = case.run(run, seed=seed, who="other")

        with watched(run, begin):
            ended = case.run(run)
        # The first to lock the folder has it.
        first = inner[0].code == 0
        winner = seed if first else 0
        last = case.run(run, seed=winner)
        fine = all(each.code == 0 or each.is_one_line for each in (ended, inner[0]))
        if not fine:
            outcome = "failed"
        elif last.code == 0 and case.is_whole(run, winner):
            outcome = "refused" if 2 in (ended.code, inner[0].code) else "survived"
        else:
            outcome = "lost"
        what = f"seed {seed} begins at {operations[at]}"
        said = f"{ended.error}\n{inner[0].error}"
        yield Fault("two processes", case.name, what, outcome, said)


def errors(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The system refuses changes of files from one of them on: the disk is full, the folder may not
    be written, or the device fails once."""
    assert case.reference
    operations = case.operations
    kinds = ("disk full", "not permitted", "device error")
    for index, at in enumerate(_some(len(operations), most)):
        kind, run = kinds[index % 3], folder / str(at)

        def refuse(operation: Operation, at=at, kind=kind) -> str | None:
            if operation.number < at:
                return None
            number = {"disk full": errno.ENOSPC, "not permitted": errno.EACCES}.get(kind)
            if kind == "device error" and operation.number == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO), operation.path)
            if kind == "not permitted" and operation.name != "fsync":
                raise PermissionError(number, os.strerror(number), operation.path)
            if kind == "disk full" and operation.name == "open":
                return "/dev/full"
            if kind == "disk full" and operation.name == "mkdir":
                raise OSError(number, os.strerror(number), operation.path)
            return None

        with watched(run, refuse):
            ended = case.run(run)
        yield _judged(kind, case, operations[at], run, ended, case.run(run))


def damage(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """A file of a run is changed: a bit, its end, all of it, or it is gone. The run has finished,
    or was stopped in the middle."""
    assert case.reference
    ways = ("bit flipped", "cut", "emptied", "deleted")
    places = [
        (source, path.relative_to(source), way)
        for source in (case.whole, stopped(case))
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.name != ".lock"
        for way in ways
    ]
    for at in _some(len(places), most):
        source, name, way = places[at]
        run = folder / str(at)
        shutil.copytree(source, run)
        harm(run / name, way)
        ends = [case.run(run)]
        if ends[0].code != 0:
            # Refused: what was lost is brought back.
            with contextlib.suppress(FileNotFoundError):
                (run / name).unlink()
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, run / name)
            ends.append(case.run(run))
        yield _judged(way, case, name, run, *ends)
        shutil.rmtree(run)


def harm(path: Path, way: str) -> None:
    """Changes a file."""
    content = bytearray(path.read_bytes())
    if way == "bit flipped" and content:
        at = random.Random(path.name).randrange(len(content))
        content[at] ^= 1 << at % 8
    if way == "cut":
        content = content[: len(content) // 2]
    if way == "emptied":
        content = bytearray()
    path.write_bytes(content)
    if way == "deleted":
        path.unlink()


def clocks(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The clock of the system jumps: back a year, forward ten, back at every look."""
    assert case.reference
    now, year = time.time, 365 * 24 * 3600
    jumps = {
        "back a year": lambda: now() - year,
        "forward ten years": lambda: now() + 10 * year,
        "stands still": lambda: 1.0,
        "runs backwards": lambda: 2e9 - now(),
    }
    for name, jump in [*jumps.items()][:most]:
        run = folder / name.replace(" ", "-")
        copy_folder(stopped(case), run)
        with mock.patch("time.time", jump):
            ended = case.run(run)
        yield _judged("clock", case, name, run, ended, case.run(run))


def moved(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The run folder moves between two calls; a copy of it goes on too."""
    assert case.reference
    names = ("elsewhere", "deeper/down", "with space", "ünïcode")[:most]
    for name in names:
        copy_folder(stopped(case), folder / "before")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "before").rename(folder / name)
        yield _judged("moved run", case, name, folder / name, case.run(folder / name))


def full_disks(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """A file system of the memory that is too small, by so many kilobytes; then it grows. Needs
    root."""
    assert case.reference
    whole = sum(path.stat().st_size for path in case.whole.rglob("*") if path.is_file()) // 1024
    for at in _some(2 * whole // 8, most):
        place = folder / f"disk{at}"
        place.mkdir(parents=True)
        if not _mount(place, f"size={8 * at + 4}k"):
            return
        try:
            ended = case.run(place / "run")
            _mount(place, "remount,size=64m")
            yield _judged(
                "small disk",
                case,
                f"{8 * at + 4} kB",
                place / "run",
                ended,
                case.run(place / "run"),
            )
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def _mount(place: Path, options: str) -> bool:
    if os.getuid() != 0 or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True).returncode == 0


def immutable(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """A folder or file of a stopped run may not be changed, not even by root (chattr +i)."""
    assert case.reference
    source = stopped(case)
    names = [path.relative_to(source) for path in sorted(source.rglob("*"))]
    for at in _some(len(names), most):
        run, name = folder / str(at), names[at]
        shutil.copytree(source, run)
        if not _chattr("+i", run / name):
            return
        try:
            ended = case.run(run)
        finally:
            _chattr("-i", run / name)
        yield _judged("immutable", case, name, run, ended, case.run(run))


def _chattr(flag: str, path: Path) -> bool:
    if os.getuid() != 0 or not shutil.which("chattr"):
        return False
    return subprocess.run(["chattr", flag, str(path)], capture_output=True).returncode == 0


def processes(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """Signals to processes of their own, at every moment of a run; Ctrl-C twice among them."""
    assert case.reference
    kinds = ("SIGTERM", "SIGINT", "SIGINT,SIGINT", "SIGKILL")
    places = [(moment, kind) for moment in (IMPORT, *MOMENTS) for kind in kinds]
    for at in _some(len(places), -(-most // 2)):  # each takes long
        (moment, kind), run = places[at], folder / str(at)
        ended = case.run_process("tests.faults.victim", moment, kind, folder=run)
        if kind == "SIGKILL" and ended.code == -signal.SIGKILL:
            ended = Ended(75, "", "")
        yield _judged("process", case, f"{kind} at {moment}", run, ended, case.run(run))


def moved_data(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """The folder of the data is moved or copied between two calls."""
    assert case.reference
    if "DATA" not in FLAGS[case.name]:
        return
    for name in ("elsewhere", "with space", "ünïcode")[:most]:
        run, data = folder / f"run {name}", folder / name
        copy_folder(stopped(case), run)
        shutil.copytree(case.root / "tfds", data)
        ended = case.run(run, who=name, data=data)
        yield _judged("moved data", case, name, run, ended)


def damaged_cache(case: Case, folder: Path, most: int) -> Iterator[Fault]:
    """A file of the cache of decoded data is changed; a new run reads it."""
    assert case.reference
    cache = cache_folder("data")
    before = folder / "before"
    ways = ("bit flipped", "cut", "emptied", "deleted")
    if not cache.exists() or "DATA" not in FLAGS[case.name]:
        return
    shutil.copytree(cache, before)
    places = [
        (path.relative_to(before), way)
        for path in sorted(before.rglob("*"))
        if path.is_file()
        for way in ways
    ]
    for at in _some(len(places), most):
        (name, way), run = places[at], folder / str(at)
        shutil.rmtree(cache)
        shutil.copytree(before, cache)
        harm(cache / name, way)
        ends = [case.run(run, who=f"cache{at}")]
        if ends[0].code != 0:
            shutil.rmtree(cache)
            ends.append(case.run(run, who=f"cache again{at}"))
        yield _judged("damaged cache", case, f"{name} {way}", run, *ends)
        case.forget()


KINDS: dict[str, Callable[[Case, Path, int], Iterator[Fault]]] = {
    "kills": kills,
    "kills_in_resuming": kills_in_resuming,
    "kills_in_overwriting": kills_in_overwriting,
    "signals": signals,
    "two_processes": two_processes,
    "errors": errors,
    "full_disks": full_disks,
    "damage": damage,
    "immutable": immutable,
    "clocks": clocks,
    "moved": moved,
    "moved_data": moved_data,
    "damaged_cache": damaged_cache,
    "processes": processes,
}
