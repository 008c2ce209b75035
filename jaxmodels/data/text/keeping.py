"""Tokenizers of published weights, kept where a run finds them without the weights."""

import hashlib
from pathlib import Path

from jaxmodels.cache import cache_folder
from jaxmodels.data.text.tokenizers import FILE
from jaxmodels.files import write_atomically


def keep_tokenizer(weights: Path) -> str | None:
    """Copies the tokenizer.json beside weights into the cache, in a folder named by its content;
    returns the copy's path, or None where there is none."""
    path = (weights if weights.is_dir() else weights.parent) / FILE
    if not path.is_file():
        return None
    content = path.read_bytes()
    copy = cache_folder("tokenizers") / hashlib.sha256(content).hexdigest()[:16] / FILE
    if not copy.is_file() or copy.read_bytes() != content:
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, lambda file: file.write(content))
    return str(copy)
