"""Data sets of tensorflow-datasets that have one image and a list of boxes with labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.boxes.digits import NAME
from jaxmodels.data.boxes.records import Converted
from jaxmodels.data.dataset import BadRecord, Dataset, Record
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError

# Features that mark an object as a crowd, which is neither learned nor counted as missed.
_CROWD = ("is_crowd", "is_difficult", "is_group_of")


@dataclass(frozen=True)
class Standard:
    """A function from a record of tfds to a record as `jaxmodels.data.boxes.records` has it.

    layout: the name of the order and unit of four numbers, as tfds calls it.
    """

    layout: str

    def __call__(self, record: Record) -> Record:
        """Converts one record.

        Raises:
          BadRecord: there is not one label, and one mark of each kind, for every box.
        """
        given = np.asarray(record["bbox"], np.float64).reshape(-1, 4)
        unit, _, order = self.layout.partition("_")
        if order == "YXYX":
            given = given[:, [1, 0, 3, 2]]
        elif order == "XYWH":
            given = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)
        elif order == "CXCYWH":
            half = given[:, 2:] / 2
            given = np.concatenate([given[:, :2] - half, given[:, :2] + half], axis=1)
        labels = np.asarray(record["labels"], np.int32)
        marks = {name: np.asarray(record[name], bool) for name in _CROWD if name in record}
        counts = {"labels": len(labels), **{name: len(mark) for name, mark in marks.items()}}
        for name, count in counts.items():
            if count != len(given):
                raise BadRecord(
                    f"has {len(given)} boxes and {count} {name}; expected as many", "unreadable"
                )
        crowd = np.logical_or.reduce([np.zeros(len(labels), bool), *marks.values()])
        return {
            "image": record["image"],
            "boxes": given,
            "relative": unit == "REL",
            "labels": labels,
            "crowd": crowd,
        }


def open_tfds_boxes(name: str, data_dir: str | Path | None) -> Dataset:
    """Opens a data set that tfds has prepared as ArrayRecord, with one image and one sequence of
    boxes with class labels. Objects marked as a crowd, a group or difficult are a crowd.

    data_dir: the folder of tfds; None: tfds's own default.

    Raises:
      InputError: the data set is unknown, not prepared, in another format, has other features, or
        has no training split.
    """
    expected = "one image and objects with bbox and label"
    builder: Any = prepared_builder(name, data_dir, "detection", expected, embedded=(NAME,))
    columns, layout = _columns(name, builder)
    dataset = tfds_dataset(name, builder, columns)
    standard = Standard(layout)
    records = {split: Converted(found, standard) for split, found in dataset.splits.items()}
    return dataset._replace(splits=records)


def _columns(name: str, builder: Any) -> tuple[dict[str, str], str]:
    """Finds the features of image, boxes and labels, and the layout of the boxes."""
    import tensorflow_datasets as tfds

    kinds = tfds.features
    features = builder.info.features
    images = [key for key, value in features.items() if isinstance(value, kinds.Image)]
    lists = []
    for key, value in features.items():
        inner = getattr(value, "feature", None)
        if not isinstance(inner, kinds.FeaturesDict):
            continue
        boxes = [at for at, part in inner.items() if isinstance(part, kinds.BBoxFeature)]
        labels = [at for at, part in inner.items() if isinstance(part, kinds.ClassLabel)]
        if len(boxes) == 1 and labels:
            lists.append((key, boxes[0], "label" if "label" in labels else labels[0]))
    if len(images) != 1 or len(lists) != 1:
        raise InputError(
            f"data '{name}' has {len(images)} image features and {len(lists)} sequences of boxes"
            f" with labels; expected one of each. Its features: {describe_features(builder)}"
        )
    [(key, box, label)] = lists
    inner = features[key].feature
    columns = {"image": images[0], "bbox": f"{key}/{box}", "labels": f"{key}/{label}"}
    columns |= {flag: f"{key}/{flag}" for flag in _CROWD if flag in inner}
    layout = getattr(inner[box], "bbox_format", None)
    return columns, getattr(layout, "name", None) or "REL_YXYX"
