"""Other pictures with boxes of a run's classes, to score a trained detector on."""

import sys
from dataclasses import replace

from jaxmodels.data.boxes.box_data import BoxData, relabelled
from jaxmodels.data.dataset import splits_elsewhere
from jaxmodels.errors import InputError, listed


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
            f"data '{other.name}' has classes that the run lacks: {listed(unknown)}; expected some"
            f" of {listed(data.class_names)}: rename them, or take them out"
        )
    missing = [name for name in data.class_names if name not in other.class_names]
    if missing:
        print(f"note: data '{other.name}' lacks classes: {listed(missing)}", file=sys.stderr)
    labels = tuple(data.class_names.index(name) for name in other.class_names)
    splits = splits_elsewhere(other.sizes)
    changed = relabelled(replace(other, canvas=data.canvas), labels, data.class_names)
    return replace(
        changed,
        records={name: changed.records[split] for name, split in splits.items()},
        annotations={name: changed.annotations[split] for name, split in splits.items()},
    )
