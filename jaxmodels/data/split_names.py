"""The usual names of folders and files that hold a split, and the content of such a file."""

import gzip
import zlib
from pathlib import Path

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.data.kinds import told_other_kind
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError

# In any case of letters; the first is the best known.
SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "validate"),
    TEST: ("test", "testing"),
}
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Returns the split that a folder of this name holds; None if it is not a split's name."""
    return _SPLITS.get(name.casefold())


def files_of_splits(
    path: Path, endings: tuple[str, ...], what: str, wanted: str
) -> dict[str, Path]:
    """Finds the file of each split: one file to train on, or those of a folder that are named after
    splits, as train.csv.

    what: says what a file of another ending is not, for the message ("is no table").
    wanted: names of a training file, for the message.

    Raises:
      InputError: no such file, two of one split, or none to train on.
    """
    if path.is_file():
        if not path.name.lower().endswith(endings):
            other = told_other_kind([path.name], ("text", "tables"))
            raise InputError(f"data '{path}' {what}; expected {', '.join(endings)}{other}")
        return {TRAIN: path}
    if not path.is_dir():
        raise InputError(f"data '{path}' is no file or folder; expected {', '.join(endings)}")
    files = {}
    for file in sorted(path.iterdir()):
        split = split_of(file.name.partition(".")[0])
        if split and file.name.lower().endswith(endings):
            if split in files:
                raise InputError(f"data '{path}' has {files[split].name} and {file.name}; keep one")
            files[split] = file
    if TRAIN not in files:
        other = told_other_kind(walk(path).files, ("text", "tables"))
        raise InputError(f"data '{path}' has no training split; expected {wanted}{other}")
    return files


def read_unpacked(path: Path) -> bytes:
    """Reads a file, unpacked where its name ends in .gz, without the mark of UTF-8 before it.

    Raises:
      InputError: it cannot be read.
    """
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            content: bytes = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"data '{path}' cannot be read: {error}") from None
    return content.removeprefix(b"\xef\xbb\xbf")
