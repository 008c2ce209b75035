"""The folder of things that can be made again: decoded data sets and compiled programs."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Returns the folder of that name under $JAXMODELS_CACHE, by default ~/.cache/jaxmodels."""
    root = os.environ.get("JAXMODELS_CACHE") or Path.home() / ".cache" / "jaxmodels"
    return Path(root).expanduser() / name
