"""A run brought from its mirror into a run folder that lacks it, or is behind."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import DamagedCheckpoint
from jaxmodels.train.config import Config
from jaxmodels.train.copies import (
    CHECKPOINTS,
    CLAIM,
    Copy,
    copies_in,
    index_in,
    note_damage,
    steps_in,
    sum_of,
    sum_of_file,
)
from jaxmodels.train.replaced import COPIES, RECORD
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.store import Store

_ASIDE = ".orbax-checkpoint-tmp"  # ends the names of checkpoints that are not whole


def fetch(store: Store, folder: RunFolder, config: Config, source: str = "") -> None:
    """Brings the run in a store into its folder, where that lacks it or is behind; the first of
    several processes does.

    source: hash of the code, which only training compares.

    Raises:
      InputError: the store holds another run, or something else; all of it is damaged; or several
        processes have folders of their own.
      RunError: the store cannot be reached.
    """
    hosts.first_only(lambda: _fetch(store, folder, config, source))
    hosts.require_same_folder(folder.path)


def _fetch(store: Store, folder: RunFolder, config: Config, source: str) -> None:
    sizes = store.sizes()
    if sizes and CLAIM not in sizes:
        raise InputError(
            f"mirror = {store.url}; it holds {min(sizes)} and no run; expected an empty folder of a"
            " bucket, or one that a run was copied to"
        )
    copies = [] if _trains(config) and config.run.overwrite else copies_in(store, sizes)
    if not copies or copies[-1].step <= max(steps_in(folder), default=-1):
        return
    record = _record_in(store, copies)
    _require_same(store, record, folder, config, source)
    with folder.locked():
        # The record comes first: without it, files that a kill leaves here would belong to no run.
        _write_both(folder, RECORD, record)
        _bring_checkpoints(store, copies, sizes, folder)
        _bring_others(store, folder)


def _trains(config: Config) -> bool:
    return config.run.mode == "train" and not config.run.debug


def _record_in(store: Store, copies: list[Copy]) -> bytes:
    """Reads the record of the run in a store, beside its newest checkpoint."""
    for copy in reversed(copies):
        content = store.read(f"{copy.name}/{RECORD}")
        if content is not None and sum_of(content) == copy.files.get(RECORD):
            return content
    raise _all_damaged(store)


def _require_same(
    store: Store, content: bytes, folder: RunFolder, config: Config, source: str
) -> None:
    """Raises InputError for another run there than the one of the config, or of the folder."""
    with tempfile.TemporaryDirectory() as place:
        there = RunFolder(place, f"mirror {store.url}")
        (there.path / RECORD).write_bytes(content)
        record = there.record() or {}
        there.require_run_of(config.experiment, record)
        if _trains(config):
            return there.check(record, config, source)
    here = folder.record()
    if here and here["identity"] != record["identity"]:
        raise InputError(
            f"workdir {folder.path} and mirror {store.url} hold different runs; name another"
            " --workdir"
        )


def _bring_checkpoints(
    store: Store, copies: list[Copy], sizes: Mapping[str, int], folder: RunFolder
) -> None:
    """Downloads checkpoints, oldest first, so that after a kill the run here is merely behind."""
    for copy in copies:
        if copy.step in steps_in(folder):
            continue
        aside = folder.checkpoints / f"{copy.step}{_ASIDE}"
        shutil.rmtree(aside, ignore_errors=True)
        if damage := _download(store, copy, aside, sizes):
            note_damage(store, copy.step, damage)
        else:
            for name in COPIES:
                if name in copy.files:
                    _write_both(folder, name, (aside / name).read_bytes())
            os.replace(aside / str(copy.step), folder.checkpoints / str(copy.step))
        shutil.rmtree(aside, ignore_errors=True)
    if not steps_in(folder):
        raise _all_damaged(store)


def _download(store: Store, copy: Copy, aside: Path, sizes: Mapping[str, int]) -> str | None:
    """Downloads a checkpoint; says what is damaged of it, or None."""
    for name, (size, _) in copy.files.items():
        if sizes.get(f"{copy.name}/{name}") != size:
            return f"{name} is missing or cut"
    store.download({f"{copy.name}/{name}": aside / name for name in copy.files})
    for name, expected in copy.files.items():
        if sum_of_file(aside / name) != expected:
            return f"{name} is not what was written"
    return None if (aside / str(copy.step)).is_dir() else "its list is not what was written"


def _bring_others(store: Store, folder: RunFolder) -> None:
    """Downloads the files that no checkpoint needs. Damaged ones are left out, with a note."""
    for name, expected in index_in(store).items():
        if name in COPIES or name.split("/")[0] in (CHECKPOINTS, ".lock"):
            continue
        content = store.read(name)
        if content is not None and sum_of(content) == expected:
            _write(folder.path / name, content)
        else:
            print(f"note: {store.url}/{name} is damaged; left out", file=sys.stderr)


def _write_both(folder: RunFolder, name: str, content: bytes) -> None:
    """Writes a file of a run that has a copy beside the checkpoints, and the copy."""
    for place in (folder.checkpoints, folder.path):
        _write(place / name, content)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _all_damaged(store: Store) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        f"mirror {store.url} has no checkpoint that is whole; --overwrite starts anew"
    )
