"""What a mirror holds: copies of a run's checkpoints, and lists of files with their checksums.

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
import re
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.store import Store

CLAIM, INDEX, CHECKPOINTS = "mirror.json", "files.json", "checkpoints"
_NAME = re.compile(rf"({CHECKPOINTS}/(\d+)-([0-9a-f]{{16}}))(\.json|/.*)")

Sums = dict[str, list[Any]]  # by name, [bytes, SHA-256]


class Copy(NamedTuple):
    """A checkpoint in the store. name: of its folder."""

    step: int
    name: str
    files: Sums


def list_of(step: int, files: Sums) -> tuple[Copy, bytes]:
    """Makes a checkpoint's name, and its list as bytes."""
    content = _written({"step": step, "files": files})
    return Copy(step, f"{CHECKPOINTS}/{step}-{hash_of(content)[:16]}", files), content


def copies_in(store: Store, sizes: Mapping[str, int]) -> list[Copy]:
    """Reads the lists of the checkpoints that are complete in a store, oldest first. Damaged lists
    are left out, with a note."""
    copies = []
    for found in filter(None, map(_NAME.fullmatch, sizes)):
        folder, step, digest, end = found.groups()
        content = store.read(found.group()) if end == ".json" else None
        if content is not None and hash_of(content)[:16] == digest:
            copies.append(Copy(int(step), folder, _files_of(content)))
        elif content is not None:
            note_damage(store, int(step), "its list is not what was written")
    return sorted(copies)


def delete_outdated(store: Store, kept: set[str]) -> None:
    """Deletes all checkpoints but those whose folders are kept. Their lists go first, because a
    checkpoint without a list does not count, whatever parts are left of it."""
    found = map(_NAME.fullmatch, store.sizes(CHECKPOINTS))
    gone = [each for each in found if each and each[1] not in kept]
    for are_lists in (True, False):
        store.delete([each.group() for each in gone if (each[4] == ".json") is are_lists])


def index_in(store: Store) -> Sums:
    """Reads the list of the files that belong to no checkpoint; {}: there is none."""
    return _files_of(store.read(INDEX) or b"")


def write_index(store: Store, files: Sums) -> None:
    """Writes the list of the files that belong to no checkpoint."""
    store.write(INDEX, _written({"files": files}))


def steps_in(folder: RunFolder) -> set[int]:
    """Returns the steps of a run folder's checkpoints."""
    return {int(path.name) for path in folder.checkpoints.glob("*") if path.name.isdigit()}


def hash_of(content: bytes) -> str:
    """Computes the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sum_of(content: bytes) -> list[Any]:
    """Makes the entry of a file in a list."""
    return [len(content), hash_of(content)]


def sum_of_file(path: Path) -> list[Any]:
    """Makes the entry of a file in a list, without holding it in memory."""
    with open(path, "rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def note_damage(store: Store, step: int, damage: str) -> None:
    """Notes that a checkpoint is left out."""
    text = f"note: checkpoint {step} of mirror {store.url} is damaged: {damage}; left out"
    print(text, file=sys.stderr)


def _written(value: dict[str, Any]) -> bytes:
    return json.dumps({"format": 1, **value}).encode()


def _files_of(content: bytes) -> Sums:
    """Reads the files of a list, but for names that lead out of the folder: others may be able to
    write to the bucket, but not here."""
    try:
        files = json.loads(content)["files"].items()
        return {
            name: [size, digest]
            for name, (size, digest) in files
            if not name.startswith("/") and ".." not in PurePosixPath(name).parts
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
