"""The splits that names of folders, lists and stored splits of recordings stand for."""

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.data.split_names import split_of

# LibriSpeech's splits have the kind of speech behind their name: dev-clean, test-other.
_BEGINNINGS = {"train": TRAIN, "dev": VALIDATION, "test": TEST}


def split_of_speech(name: str, separator: str = "-") -> str | None:
    """Returns the split that a name stands for; None where it is not a split's. All kinds of speech
    are trained on together. Others are scored each for itself, as they are published: the clean one
    of LibriSpeech as "validation" or "test", "test-other" by its name.

    separator: stands before the kind of speech.
    """
    if split := split_of(name):
        return split
    first, found, kind = name.lower().partition(separator)
    split = _BEGINNINGS.get(first)
    if split is None or bool(found) != bool(kind):
        return None
    is_main = split == TRAIN or not kind or kind.endswith("clean")
    return split if is_main else f"{first}-{kind}"
