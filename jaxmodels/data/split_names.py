"""The usual names of folders and files that hold a split."""

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION

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
