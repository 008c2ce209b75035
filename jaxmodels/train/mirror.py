"""The copy of a run in an object store, from which another machine goes on (see `copies`)."""

import json
import secrets
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from jaxmodels.errors import InputError, RunError
from jaxmodels.run_record import read_facts
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import Facts
from jaxmodels.train.copies import (
    CHECKPOINTS,
    CLAIM,
    Copy,
    Sums,
    copies_in,
    delete_outdated,
    hash_of,
    index_in,
    list_of,
    steps_in,
    sum_of,
    sum_of_file,
    write_index,
)
from jaxmodels.train.replaced import COPIES, own_files
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.store import Store


class Mirror:
    """A run folder and its copy in a store, while the run trains. The first of several processes
    writes it, in a thread of its own.

    `wait` and `finish` raise RunError where the store cannot be reached, or another process has
    taken over.
    """

    def __init__(self, store: Store, folder: RunFolder):
        self._store, self._folder = store, folder
        self._writer = ""
        self._copies: dict[int, Copy] = {}  # by step, those that are complete there
        self._sums: Sums = {}  # of the other files, as they are there
        self._upload: Future[None] | None = None
        self._worker = ThreadPoolExecutor(1, "mirror")
        self._is_ending, self._has_failed = threading.Event(), False

    def claim(self) -> None:
        """Makes this process the one that writes to the store. One that did so before, on a machine
        that was given up for lost, ends at its next checkpoint."""
        hosts.first_only(self._claim)

    def catch_up(self) -> None:
        """Begins to copy those checkpoints of the folder that are not there."""
        hosts.first_only(self._catch_up)

    def commit(self, step: int, facts: Facts) -> None:
        """Begins to copy a checkpoint, once the library has saved it."""
        hosts.first_only(lambda: self._begin(step, {step: facts}))

    def wait(self) -> None:
        """Waits for what is being copied."""
        hosts.first_only(self._wait)

    def finish(self, quiet: bool = False) -> None:
        """Waits for what is being copied, and copies the files as they are at the end.

        quiet: only note that this cannot be done, for a run that failed already.
        """
        hosts.first_only(lambda: self._finish(quiet))

    def close(self) -> None:
        """Ends the thread, without waiting for a checkpoint that could not be saved."""
        self._is_ending.set()
        self._worker.shutdown(wait=False)

    def complete(self, step: int, reason: str | None) -> None:
        """Copies what the store lacks of a run that has finished.

        reason: see `RunFolder.write_status`.
        """
        hosts.first_only(lambda: self._complete(step, reason))

    def _claim(self) -> None:
        self._writer = secrets.token_hex(8)
        content = json.dumps({"format": 1, "writer": self._writer}) + "\n"
        self._store.write(CLAIM, content.encode())
        sizes = self._store.sizes(CHECKPOINTS)
        self._copies = {copy.step: copy for copy in copies_in(self._store, sizes)}
        self._sums = index_in(self._store)

    def _require_claim(self) -> None:
        if self._writer.encode() not in (self._store.read(CLAIM) or b""):
            raise RunError(
                f"mirror {self._store.url}: another process has taken over the run, and goes on"
                " with it; this one ends"
            )

    def _catch_up(self) -> None:
        missing = steps_in(self._folder) - self._copies.keys()
        facts = {step: kept for step in missing if (kept := self._facts(step))}
        if facts:
            self._begin(max(facts), facts)

    def _facts(self, step: int) -> Facts | None:
        try:
            kept = read_facts(self._folder.checkpoints / str(step)) or {}
            return Facts(**{name: kept[name] for name in Facts._fields if name in kept})
        except (InputError, TypeError):
            return None  # damaged, or of a version that kept none

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
            if content and (name != "evaluation.json" or hash_of(content) == facts.found_hash):
                found[name] = content
        return found

    def _wait(self) -> None:
        upload, self._upload = self._upload, None
        if upload:
            self._has_failed = True  # unless this returns
            upload.result()
            self._has_failed = False

    def _finish(self, quiet: bool) -> None:
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

    def _complete(self, step: int, reason: str | None) -> None:
        status = self._folder.path / "status.json"
        there = {copy.step for copy in copies_in(self._store, self._store.sizes(CHECKPOINTS))}
        ended = sum_of_file(status) if status.is_file() else None
        if step in there and index_in(self._store).get(status.name) == ended:
            return
        with self._folder.locked():
            self._claim()
            self._catch_up()
            self._wait()
            self._folder.write_status("finished", step, reason)
            self._put_others()

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
        sums = {name: sum_of_file(path) for name, path in paths.items()}
        sums |= {name: sum_of(content) for name, content in beside.items()}
        copy, listed = list_of(step, sums)
        self._store.upload({f"{copy.name}/{name}": path for name, path in paths.items()})
        for name, content in beside.items():
            self._store.write(f"{copy.name}/{name}", content)
        there = self._store.sizes(copy.name)
        cut = [name for name, (size, _) in sums.items() if there.get(f"{copy.name}/{name}") != size]
        if cut:
            raise RunError(f"mirror {self._store.url}: {cut[0]} of step {step} arrived cut")
        self._store.write(f"{copy.name}.json", listed)
        self._copies[step] = copy

    def _put_others(self) -> None:
        """Deletes the checkpoints that the folder has no more, and copies what has changed of the
        other files."""
        here = steps_in(self._folder)
        self._copies = {step: copy for step, copy in self._copies.items() if step in here}
        delete_outdated(self._store, {copy.name for copy in self._copies.values()})
        sums = {}
        for path in own_files(self._folder.path):
            name = path.relative_to(self._folder.path).as_posix()
            if path.is_file() and not name.startswith(f"{CHECKPOINTS}/"):
                content = path.read_bytes()
                sums[name] = sum_of(content)
                if sums[name] != self._sums.get(name):
                    self._store.write(name, content)
        write_index(self._store, sums)
        self._store.delete(self._sums.keys() - sums.keys())
        self._sums = sums
