"""The copy of a run in an object store, from which another machine goes on.

    URL/mirror.json                      who writes here
    URL/checkpoints/STEP-DIGEST/...      a checkpoint, with the files of the run that it stands for
    URL/checkpoints/STEP-DIGEST.json     size and SHA-256 of each of them; written last
    URL/config.json, metrics.jsonl, ...  the other files as they were at the last checkpoint
    URL/files.json                       size and SHA-256 of each of those

A checkpoint counts when its list is there. Its name has the hash of the list, so no checkpoint is
written over another, and one that was cut short or changed is noticed.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import write_atomically
from jaxmodels.run_record import read_facts
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import DamagedCheckpoint, Facts
from jaxmodels.train.config import Config
from jaxmodels.train.replaced import COPIES, RECORD, own_files
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.store import Store

_CLAIM, _INDEX, _CHECKPOINTS = "mirror.json", "files.json", "checkpoints"
_NAME = re.compile(rf"({_CHECKPOINTS}/(\d+)-([0-9a-f]{{16}}))(\.json|/.*)")
_ASIDE = ".orbax-checkpoint-tmp"  # ends the names of checkpoints that are not whole

Sums = dict[str, list[Any]]  # by name, [bytes, SHA-256]


class Copy(NamedTuple):
    """A checkpoint in the store. name: of its folder."""

    step: int
    name: str
    files: Sums


class Mirror:
    """A run folder and its copy in a store. Only the first of several processes writes either.

    Raises:
      InputError: see `Store`.
    """

    def __init__(self, url: str, folder: RunFolder):
        self._store, self._folder = Store(url), folder
        self._writer = ""
        self._copies: dict[int, Copy] = {}  # by step
        self._sums: Sums = {}  # of the other files, as they are there
        self._upload: Future[None] | None = None
        self._worker = ThreadPoolExecutor(1, "mirror")
        self._is_ending, self._has_failed = threading.Event(), False

    # From there to here

    def fetch(self, config: Config, source: str = "") -> None:
        """Brings a run into the folder that lacks it, or is behind.

        source: hash of the code, which only training compares.

        Raises:
          InputError: the store holds another run, or something else; it is all damaged; or several
            processes have folders of their own.
          RunError: the store cannot be reached.
        """
        hosts.first_only(lambda: self._fetch(config, source))
        hosts.require_same_folder(self._folder.path)

    def _fetch(self, config: Config, source: str) -> None:
        sizes = self._store.sizes()
        if sizes and _CLAIM not in sizes:
            raise InputError(
                f"mirror = {self._store.url}; it holds {min(sizes)} and no run; expected an empty"
                " folder in a bucket, or one that a run was copied to"
            )
        if config.run.mode == "train" and config.run.overwrite:
            return
        copies = self._list(sizes)
        if not copies or copies[-1].step <= max(self._steps(), default=-1):
            return
        record = self._record(copies)
        self._require_same(record, config, source)
        with self._folder.locked():
            # Without it, what a kill leaves here would be no run's.
            for place in (self._folder.checkpoints, self._folder.path):
                _write(place / RECORD, record)
            self._bring(copies, sizes)
            self._bring_others()

    def _list(self, sizes: Mapping[str, int]) -> list[Copy]:
        """Returns the checkpoints that are complete there, oldest first."""
        copies = []
        for found in filter(None, map(_NAME.fullmatch, sizes)):
            folder, step, digest, end = found.groups()
            content = self._store.read(found.group()) if end == ".json" else None
            if content is not None and _hash(content)[:16] == digest:
                copies.append(Copy(int(step), folder, _safe(json.loads(content)["files"])))
            elif content is not None:
                self._note(int(step), "its list is not what was written")
        return sorted(copies)

    def _record(self, copies: list[Copy]) -> bytes:
        """Reads the record of the run there.

        Raises:
          DamagedCheckpoint: it is damaged beside every checkpoint.
        """
        for copy in reversed(copies):
            content = self._store.read(f"{copy.name}/{RECORD}")
            if content is not None and _sum(content) == copy.files.get(RECORD):
                return content
        raise self._all_damaged()

    def _require_same(self, content: bytes, config: Config, source: str) -> None:
        """Raises InputError for another run there than the one of the config or of the folder."""
        with tempfile.TemporaryDirectory() as place:
            there = RunFolder(place, f"mirror {self._store.url}")
            (there.path / RECORD).write_bytes(content)
            record = there.record() or {}
            there.require_run_of(config.experiment, record)
            if config.run.mode == "train" and not config.run.debug:
                return there.check(record, config, source)
        here = self._folder.record()
        if here and here["identity"] != record["identity"]:
            raise InputError(
                f"workdir {self._folder.path} and mirror {self._store.url} hold different runs;"
                " name another --workdir"
            )

    def _bring(self, copies: list[Copy], sizes: Mapping[str, int]) -> None:
        """Downloads checkpoints, oldest first, so that a kill leaves a run that is only behind."""
        for copy in copies:
            if copy.step not in self._steps():
                aside = self._folder.checkpoints / f"{copy.step}{_ASIDE}"
                shutil.rmtree(aside, ignore_errors=True)
                if damage := self._download(copy, aside, sizes):
                    self._note(copy.step, damage)
                else:
                    self._place(copy, aside)
                shutil.rmtree(aside, ignore_errors=True)
        if not self._steps():
            raise self._all_damaged()

    def _download(self, copy: Copy, aside: Path, sizes: Mapping[str, int]) -> str | None:
        """Downloads a checkpoint; says what is damaged of it, or None."""
        for name, (size, _) in copy.files.items():
            if sizes.get(f"{copy.name}/{name}") != size:
                return f"{name} is missing or cut"
        self._store.download({f"{copy.name}/{name}": aside / name for name in copy.files})
        for name, (_, digest) in copy.files.items():
            if _hash_of_file(aside / name) != digest:
                return f"{name} is not what was written"
        return None

    def _place(self, copy: Copy, aside: Path) -> None:
        for name in COPIES:
            if name in copy.files:
                for place in (self._folder.checkpoints, self._folder.path):
                    _write(place / name, (aside / name).read_bytes())
        os.replace(aside / str(copy.step), self._folder.checkpoints / str(copy.step))

    def _bring_others(self) -> None:
        """Downloads the files that no checkpoint needs; of those that are damaged, a note."""
        for name, found in self._index().items():
            if name in COPIES or name.split("/")[0] in (_CHECKPOINTS, ".lock"):
                continue
            content = self._store.read(name)
            if content is not None and _sum(content) == found:
                _write(self._folder.path / name, content)
            else:
                print(f"note: {self._store.url}/{name} is damaged; left out", file=sys.stderr)

    def _index(self) -> Sums:
        content = self._store.read(_INDEX)
        try:
            return {} if content is None else _safe(json.loads(content)["files"])
        except (ValueError, KeyError, TypeError):
            return {}

    # From here to there

    def claim(self) -> None:
        """Makes this process the one that writes to the store; another one that did so before
        fails at its next checkpoint."""
        hosts.first_only(self._claim)

    def _claim(self) -> None:
        self._writer = secrets.token_hex(8)
        content = json.dumps({"format": 1, "writer": self._writer}) + "\n"
        self._store.write(_CLAIM, content.encode())
        sizes = self._store.sizes()
        self._copies = {copy.step: copy for copy in self._list(sizes)}
        self._sums = self._index()

    def complete(self, step: int, reason: str | None) -> None:
        """Copies what the store lacks of a run that has finished."""

        def copy() -> None:
            status = self._folder.path / "status.json"
            copies = {each.step for each in self._list(self._store.sizes(_CHECKPOINTS))}
            if step in copies and self._index().get(status.name) == _sum_of(status):
                return
            with self._folder.locked():
                self._claim()
                self._catch_up()
                self._wait()
                self._folder.write_status("finished", step, reason)
                self._put_others()

        hosts.first_only(copy)

    def catch_up(self) -> None:
        """Begins to copy those checkpoints of the folder that are not there."""
        hosts.first_only(self._catch_up)

    def _catch_up(self) -> None:
        missing = {step: self._facts(step) for step in self._steps() if step not in self._copies}
        facts = {step: kept for step, kept in missing.items() if kept}
        if facts:
            self._begin(max(facts), facts)

    def commit(self, step: int, facts: Facts) -> None:
        """Begins to copy a checkpoint, once the library has saved it."""
        hosts.first_only(lambda: self._begin(step, {step: facts}))

    def wait(self) -> None:
        """Waits for what is being copied.

        Raises:
          RunError: it cannot be, or another process has taken over.
        """
        hosts.first_only(self._wait)

    def _wait(self) -> None:
        upload, self._upload = self._upload, None
        if upload:
            self._has_failed = True  # unless this returns
            upload.result()
            self._has_failed = False

    def finish(self, quiet: bool = False) -> None:
        """Waits for what is being copied, and copies the files as they are at the end.

        quiet: only note that it cannot be done, for a run that failed already.
        """

        def end() -> None:
            self._is_ending.set()
            try:
                self._wait()
                if not self._has_failed:
                    self._require_claim()
                    self._put_others()
            except RunError as error:
                if not quiet:
                    raise
                print(f"note: {error}", file=sys.stderr)

        hosts.first_only(end)

    def _begin(self, step: int, facts: Mapping[int, Facts]) -> None:
        self._wait()
        # Read here, because the files grow while the checkpoint is copied.
        beside = {each: self._beside(kept) for each, kept in facts.items()}
        self._upload = self._worker.submit(self._put_all, step, beside)

    def _beside(self, facts: Facts) -> dict[str, bytes]:
        """Returns the files of the run that a checkpoint stands for."""
        found = {}
        for name in COPIES:
            path = self._folder.checkpoints / name
            content = path.read_bytes() if path.is_file() else b""
            if name == "metrics.jsonl":
                content = b"".join(content.splitlines(keepends=True)[: facts.lines])
            if content and (name != "evaluation.json" or _hash(content) == facts.found_hash):
                found[name] = content
        return found

    def _put_all(self, step: int, beside: Mapping[int, Mapping[str, bytes]]) -> None:
        while not (self._folder.checkpoints / str(step)).is_dir():
            if self._is_ending.wait(0.05):
                return  # it could not be saved
        self._require_claim()
        for each, files in sorted(beside.items()):
            self._put(each, files)
        self._put_others()

    def _put(self, step: int, beside: Mapping[str, bytes]) -> None:
        """Copies a checkpoint, its list last."""
        top = self._folder.checkpoints
        files = [path for path in sorted((top / str(step)).rglob("*")) if path.is_file()]
        paths = {path.relative_to(top).as_posix(): path for path in files}
        sums = {name: [path.stat().st_size, _hash_of_file(path)] for name, path in paths.items()}
        sums |= {name: _sum(content) for name, content in beside.items()}
        listed = json.dumps({"format": 1, "step": step, "files": sums}).encode()
        folder = f"{_CHECKPOINTS}/{step}-{_hash(listed)[:16]}"
        self._store.upload({f"{folder}/{name}": path for name, path in paths.items()})
        for name, content in beside.items():
            self._store.write(f"{folder}/{name}", content)
        there = self._store.sizes(folder)
        cut = [name for name, (size, _) in sums.items() if there.get(f"{folder}/{name}") != size]
        if cut:
            raise RunError(f"mirror {self._store.url}: {cut[0]} of step {step} arrived cut")
        self._store.write(f"{folder}.json", listed)
        self._copies[step] = Copy(step, folder, sums)

    def _put_others(self) -> None:
        """Deletes what the folder has no more, and copies what has changed of the other files."""
        self._copies = {step: c for step, c in self._copies.items() if step in self._steps()}
        kept = {copy.name for copy in self._copies.values()}
        found = filter(None, map(_NAME.fullmatch, self._store.sizes(_CHECKPOINTS)))
        gone = [(each.group(), each[4]) for each in found if each[1] not in kept]
        self._store.delete(name for name, end in gone if end == ".json")
        self._store.delete(name for name, end in gone if end != ".json")
        paths = [path for path in own_files(self._folder.path) if path.is_file()]
        names = {path.relative_to(self._folder.path).as_posix(): path for path in paths}
        sums = {}
        for name, path in names.items():
            if not name.startswith(f"{_CHECKPOINTS}/"):
                content = path.read_bytes()
                sums[name] = _sum(content)
                if sums[name] != self._sums.get(name):
                    self._store.write(name, content)
        self._store.write(_INDEX, json.dumps({"format": 1, "files": sums}).encode())
        self._store.delete(self._sums.keys() - sums.keys())
        self._sums = sums

    def _require_claim(self) -> None:
        content = self._store.read(_CLAIM)
        if content is None or self._writer.encode() not in content:
            raise RunError(
                f"mirror {self._store.url}: another process has taken over the run, and goes on"
                " with it; this one ends"
            )

    def _facts(self, step: int) -> Facts | None:
        try:
            kept = read_facts(self._folder.checkpoints / str(step)) or {}
            return Facts(**{name: kept[name] for name in Facts._fields if name in kept})
        except (InputError, TypeError):
            return None  # damaged, or of a version that kept none

    def _steps(self) -> set[int]:
        """Returns the steps of the folder's checkpoints."""
        folders = self._folder.checkpoints.glob("*")
        return {int(path.name) for path in folders if path.name.isdigit()}

    def _note(self, step: int, damage: str) -> None:
        print(
            f"note: checkpoint {step} of mirror {self._store.url} is damaged: {damage}; left out",
            file=sys.stderr,
        )

    def _all_damaged(self) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"mirror {self._store.url} has no checkpoint that is whole; --overwrite starts anew"
        )


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sum(content: bytes) -> list[Any]:
    return [len(content), _hash(content)]


def _sum_of(path: Path) -> list[Any] | None:
    return _sum(path.read_bytes()) if path.is_file() else None


def _hash_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _safe(sums: Sums) -> Sums:
    """Returns the files of a list whose names stay below a folder; whoever may write to a bucket
    may write there any others."""
    return {
        name: found
        for name, found in sums.items()
        if not name.startswith("/") and ".." not in PurePosixPath(name).parts
    }
