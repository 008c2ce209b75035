"""What kind of data a data set of tensorflow-datasets holds, known before it is prepared."""

import difflib
import re
import sys
from collections.abc import Iterable, Set
from pathlib import Path

from jaxmodels.errors import closest

# The class in tfds of features of each kind of data. The first class that a data set has says its
# kind, because text features are mostly names of files.
_CLASSES = {"video": "Video", "sound": "Audio", "images": "Image", "text": "Text"}

# Where tfds keeps what is of one kind, and its tags for what it keeps elsewhere.
_PACKAGES = {"audio": "sound", "structured": "tables", "video": "video"}
_PACKAGES |= dict.fromkeys(("image", "image_classification", "object_detection"), "images")
_PACKAGES |= dict.fromkeys(("question_answering", "summarization", "text", "translate"), "text")
_PACKAGES["text_simplification"] = "text"
_TAGS = {"audio": "sound", "speech": "sound", "image": "images", "text": "text", "video": "video"}
_TAGS["tabular"] = "tables"
_TAG = re.compile(rf"^content\.data-type\.({'|'.join(_TAGS)})\b", re.MULTILINE)

# The kind of data that each word for suitable data sets stands for.
_WORDS = {"image": "images", "detection": "images", "sound": "sound", "text": "text"}


def kind_of_prepared(folder: Path) -> str | None:
    """Returns the kind of a prepared data set by the features.json below a folder, if that says
    it."""
    try:
        text = max(folder.rglob("features.json")).read_text("utf-8")
    except (OSError, ValueError):
        return None
    return next((kind for kind, feature in _CLASSES.items() if f'.{feature}"' in text), None)


def kinds_of(name: str, root: Path) -> Set[str]:
    """Returns the kinds of data that a data set holds, as prepared in a folder or as tfds sorts it;
    none where neither says so."""
    import tensorflow_datasets as tfds

    first = re.split(r"[:/]", name)[0]
    if held := kind_of_prepared(root / first):
        return {held}
    library = Path(tfds.__file__ or "").parent
    try:
        file = Path(sys.modules[tfds.builder_cls(first).__module__].__file__ or "")
    except Exception:  # it is unknown, or a module of its package needs what is not installed
        file = next((path for path in library.glob("*/*") if path.stem == first), library)
    package = file.relative_to(library).parts[0] if library in file.parents else ""
    if package in _PACKAGES:
        return {_PACKAGES[package]}
    try:
        tags = (file.parent / "TAGS.txt").read_text("utf-8")
    except OSError:
        return set()
    return {_TAGS[tag] for tag in _TAG.findall(tags)}


def other_kind(name: str, root: Path, word: str) -> str | None:
    """Returns the kind of data that a data set holds; None where it may be the one asked for.

    word: for suitable data sets, as in `prepared_builder`.
    """
    held, wanted = kinds_of(name, root), _WORDS.get(word)
    return None if wanted is None or wanted in held else next(iter(sorted(held)), None)


def near(name: str, embedded: Iterable[str], root: Path, word: str) -> str:
    """Returns "; did you mean '...'?" with the most similar data set of the kind asked for, or "."
    if none is similar."""
    import tensorflow_datasets as tfds

    embedded, wanted = list(embedded), _WORDS.get(word)
    prepared = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    known = [*embedded, *prepared, *tfds.list_builders(with_community_datasets=False)]

    def fits(each: str) -> bool:
        held = {wanted} if each in embedded else kinds_of(each, root)
        return wanted in held or (each in prepared and not held)

    similar = difflib.get_close_matches(name, known, n=20)
    return closest(name, filter(fits, similar) if wanted else similar)
