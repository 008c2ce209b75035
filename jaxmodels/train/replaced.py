"""The run that --overwrite replaces: put aside until the new one has saved something."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxmodels.errors import InputError
from jaxmodels.files import append_text, read_json, require_regular
from jaxmodels.train.tensorboard import FILE as EVENTS

RECORD = "config.json"
FILES = (
    "data.json",
    "metrics.jsonl",
    "speed.jsonl",
    "goodput.json",
    "curves.png",
    "report.html",
    "evaluation.json",
    "status.json",
)
FOLDERS = ("checkpoints", "samples", "tensorboard")
COPIES = ("metrics.jsonl", "evaluation.json", RECORD)  # beside the checkpoints
# Names of files in samples/ that an evaluation has written.
WRITTEN = ".written"
# What an evaluation might leave in samples/, for a run that did not write their names down.
SAMPLES = (".png", ".txt", ".jsonl", ".wav")


def note_written(folder: Path, name: str = "") -> None:
    """Writes down that samples/NAME is the run's own, before it is made; without a name, that the
    run writes such names down."""
    if not name or name not in _written(folder):
        append_text(folder / WRITTEN, name and name + "\n")


def _written(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (folder / WRITTEN).read_text("utf-8", "replace").splitlines()
    return []


def own_files(folder: Path) -> Iterator[Path]:
    """Yields the paths of the run's own files and checkpoints in a folder, the record last. Other
    files there belong to somebody else."""
    checkpoints = folder / "checkpoints"
    for path in sorted(checkpoints.glob("*")):
        if path.name.isdigit() or path.name.endswith(".orbax-checkpoint-tmp"):
            yield path
    yield from (checkpoints / name for name in COPIES)
    names = _written(folder)
    if not names and not (folder / WRITTEN).exists():
        names = [path.name for end in SAMPLES for path in (folder / "samples").glob(f"*{end}")]
    yield from (folder / "samples" / name for name in names if name == Path(name).name)
    yield from (folder / "tensorboard").glob(f"*/{EVENTS}")
    yield from (path for path in folder.glob("evaluation-*.json") if _is_elsewhere(path))
    yield from (folder / name for name in (*FILES, WRITTEN, RECORD))


def _is_elsewhere(path: Path) -> bool:
    """Whether a file has the scores of an evaluation on other data (see `elsewhere`)."""
    found = read_json(path)
    return isinstance(found, dict) and {"format", "data", "splits"} <= found.keys()


def remove_run(folder: Path) -> None:
    """Removes the run in a folder and nothing else; where a path is a link, the link alone."""
    for path in [*own_files(folder)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def move_run(source: Path, target: Path) -> None:
    """Moves the run in a folder to another, its record last; what a kill has left of an earlier
    call is moved too."""
    for path in [*own_files(source)]:
        if path.exists() or path.is_symlink():
            moved = target / path.relative_to(source)
            moved.parent.mkdir(parents=True, exist_ok=True)
            path.rename(moved)


class Replaced:
    """A place in a run folder for the run that was there before.

    As long as the place has the old run's record, it has all of the old run, and the folder around
    it has the new one. Without the record, a move was interrupted: the place has one part of the
    old run, and the folder the other.
    """

    def __init__(self, folder: Path):
        self._folder, self._aside = folder, folder / ".replaced"

    @property
    def exists(self) -> bool:
        """Whether a run, or a part of one, is put aside."""
        return self._aside.is_dir() and not self._aside.is_symlink()

    @property
    def is_whole(self) -> bool:
        """Whether all of it is put aside."""
        return self.exists and (self._aside / RECORD).exists()

    def put_aside(self) -> None:
        """Puts the run in the folder aside. Where one is aside already, what is in the folder has
        saved nothing and is removed."""
        if self.is_whole:
            remove_run(self._folder)
        else:
            move_run(self._folder, self._aside)

    def bring_back(self) -> None:
        """Makes the folder hold the run that was put aside, and no other."""
        if self.is_whole:
            remove_run(self._folder)
            # First, so that a kill in between leaves a part aside.
            (self._aside / RECORD).rename(self._folder / RECORD)
        if self.exists:
            move_run(self._aside, self._folder)
            self._remove_empty()

    def forget(self) -> None:
        """Removes the run that was put aside."""
        if self.exists:
            remove_run(self._aside)
            self._remove_empty()

    def _remove_empty(self) -> None:
        for path in (
            *sorted((self._aside / "tensorboard").glob("*")),
            *map(self._aside.joinpath, FOLDERS),
        ):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            self._aside.rmdir()


def require_own_folders(folder: Path) -> None:
    """Requires the parts of a run folder to be files and folders of its own.

    Raises:
      InputError: one is a link, a device or a pipe, which may lead to what is somebody else's.
    """
    for name in FOLDERS:
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            kind = "a link" if path.is_symlink() else "no folder"
            raise InputError(f"{path} is {kind}; expected a folder of the run's own, or none")
    for name in (".lock", WRITTEN, *FILES, RECORD):
        require_regular(folder / name)
