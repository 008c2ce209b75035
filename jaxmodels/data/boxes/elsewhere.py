"""Other pictures with boxes of a run's classes, to score a trained detector on."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from jaxmodels.data.boxes.box_data import BoxData, relabelled
from jaxmodels.data.dataset import TRAIN
from jaxmodels.errors import InputError

ALL = "all"  # the split of data that have no other than one to train on


def boxes_elsewhere(data: BoxData, other: BoxData) -> BoxData:
    """Makes the evaluation splits of other pictures, or all of them as the split "all" where they
    have none, more of `data`: with its canvas, and its classes by their names. Classes that the
    others lack are noted on standard error.

    Raises:
      InputError: they have classes that `data` lacks.
    """
    unknown = [name for name in other.class_names if name not in data.class_names]
    if unknown:
        raise InputError(
            f"data '{other.name}' has classes that the run lacks: {_listed(unknown)}; expected some"
            f" of {_listed(data.class_names)}: rename them, or take them out"
        )
    missing = [name for name in data.class_names if name not in other.class_names]
    if missing:
        print(f"note: data '{other.name}' lacks classes: {_listed(missing)}", file=sys.stderr)
    labels = tuple(data.class_names.index(name) for name in other.class_names)
    splits = {split: split for split in other.sizes if split != TRAIN} or {ALL: TRAIN}
    changed = relabelled(replace(other, canvas=data.canvas), labels, data.class_names)
    return replace(
        changed,
        records={name: changed.records[split] for name, split in splits.items()},
        annotations={name: changed.annotations[split] for name, split in splits.items()},
    )


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
