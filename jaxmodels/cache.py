"""The folder of things that can be made again: decoded data sets and compiled programs."""

import errno
import os
from pathlib import Path

from jaxmodels.errors import InputError, RunError

TOKENIZERS = "tokenizers"  # kept ones, each in a folder that is named by its content

# What another folder mends, as long as nothing is wrong with the disk.
_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST}
_PLACE |= {errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR}


def cache_folder(name: str) -> Path:
    """Returns the folder of that name under $JAXMODELS_CACHE, by default ~/.cache/jaxmodels.

    Raises:
      InputError: neither the variable nor a home says where.
    """
    named = os.environ.get("JAXMODELS_CACHE")
    try:
        root = Path(named).expanduser() if named else Path.home() / ".cache" / "jaxmodels"
    except RuntimeError:
        raise InputError(
            f"JAXMODELS_CACHE = {named or ''}; no home folder is known, so that nothing says where"
            " data and programs are kept: set it to a folder that can be written"
        ) from None
    return root / name


def not_written(path: Path, error: OSError) -> InputError | RunError:
    """Makes the error to raise where the cache cannot be written."""
    cause = error.strerror or str(error)
    kind = InputError if error.errno in _PLACE else RunError
    return kind(
        f"the cache cannot be written: {error.filename or path}: {cause}; make that possible, or"
        " set JAXMODELS_CACHE to another folder"
    )
