"""Image data sets of tensorflow-datasets, read without TensorFlow."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmodels.data.decoding import BadRecord
from jaxmodels.data.records import StoredImages
from jaxmodels.errors import InputError, closest

SPLITS = ("train", "validation", "test")


class TfdsImages:
    """`EncodedImages` of one split in ArrayRecord files.

    The records are parsed here, since tfds's own way of doing so takes 350 us for a small image, 25
    times as long as reading and decoding it.
    """

    def __init__(self, builder, split: str, image: str, label: str | None):
        feature = builder.info.features[image]
        *size, self.channels = feature.shape
        self.size = tuple(size)
        self.dtype = np.dtype(feature.np_dtype)
        self._split, self._image, self._label = split, image, label
        # Its pickle leaves the open files out.
        self._source = builder.as_data_source(split).data_source

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """As `EncodedImages.read`."""
        if not len(rows):
            return []
        try:
            records = self._source.__getitems__(rows)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise BadRecord(f"cannot be read: {reason}", "unreadable") from None
        from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

        return [self._parsed(record, Example) for record in records]

    def key(self, row: int) -> str:
        """SPLIT/ROW."""
        return f"{self._split}/{row}"

    def _parsed(self, record: bytes, message) -> tuple[bytes, int]:
        from google.protobuf.message import DecodeError

        try:
            features = message.FromString(record).features.feature
        except DecodeError:
            raise BadRecord("is no tf.train.Example", "unreadable") from None
        image, label = features[self._image].bytes_list.value, (-1,)
        if self._label:
            label = features[self._label].int64_list.value
        for name, values in ((self._image, image), (self._label, label)):
            if len(values) != 1:
                raise BadRecord(f"has {len(values)} values of '{name}'; expected 1", "unreadable")
        return image[0], label[0]


def open_tfds_images(name: str, data_dir: str | Path | None) -> StoredImages:
    """A data set that tfds has prepared as ArrayRecord, with one image and at most one label.

    data_dir: the folder of tfds; None: tfds's own default.

    Raises:
      InputError: what is unknown, not prepared, in another format, or without a training split.
    """
    builder = _prepared_builder(name, data_dir)
    image, label = _image_and_label(name, builder.info.features)
    found = builder.info.splits
    splits = {
        split: TfdsImages(builder, split, image, label)
        for split in SPLITS
        if split in found and found[split].num_examples
    }
    if "train" not in splits:
        raise InputError(
            f"data '{name}' has no training split; expected 'train'."
            f" Found: {', '.join(found) or 'none'}"
        )
    names = tuple(builder.info.features[label].names) if label else ()
    fingerprint = _fingerprint(Path(builder.data_path))
    return StoredImages(name, str(builder.info.version), fingerprint, splits, names)


def _prepared_builder(name: str, data_dir: str | Path | None):
    logging.getLogger("absl").setLevel(logging.ERROR)  # its advice to install OpenCV
    import tensorflow_datasets as tfds

    root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            builder = tfds.builder(name, data_dir=root)
    except tfds.core.DatasetNotFoundError:
        found = (
            sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        )
        known = ["digits", *found, *tfds.list_builders(with_community_datasets=False)]
        raise InputError(
            f"unknown data '{name}'{closest(name, known)} Known: digits, what lies prepared in"
            f" --data-dir {root} ({', '.join(found) or 'nothing'}), and image data sets of tfds"
        ) from None
    except (ValueError, AssertionError) as error:  # its parser of names and versions
        first = (str(error).splitlines() or ["not a name"])[0]
        raise InputError(f"data '{name}': {first}; expected NAME or NAME:VERSION") from None
    except ImportError as error:
        raise InputError(
            f"data '{name}' has features that tfds reads only with '{error.name}' installed;"
            " expected one image and at most one class label"
        ) from None
    folder = Path(builder.data_path)
    prepared = (folder / "dataset_info.json").exists()
    if not prepared:
        raise InputError(
            f"data '{name}' is not prepared in --data-dir {root}; name the folder that has it, or"
            f" prepare it once: pip install -e '.[prepare]' && tfds build {name}"
            f" --file_format=array_record --data_dir={root}"
        )
    found = builder.info.file_format.value
    if found != "array_record":
        raise InputError(
            f"data '{name}' in {folder} is stored as {found}; expected array_record. Convert it:"
            f" pip install -e '.[prepare]' && tfds convert_format"
            f" --dataset_version_dir={folder} --out_file_format=array_record"
            f" --out_dir=NEW_DATA_DIR/{folder.relative_to(root)}"
        )
    return builder


def _image_and_label(name: str, features) -> tuple[str, str | None]:
    """The keys of the one image and, if any, of the one class label."""
    import tensorflow_datasets as tfds

    def of(kind):
        return [key for key, feature in features.items() if isinstance(feature, kind)]

    images, labels = of(tfds.features.Image), of(tfds.features.ClassLabel)
    if len(images) != 1:
        raise InputError(
            f"data '{name}' has {len(images)} image features; expected one."
            f" Its features: {', '.join(features)}"
        )
    return images[0], labels[0] if len(labels) == 1 else None


def _fingerprint(folder: Path) -> str:
    """Of the description and the record files' names and sizes: a data set that was prepared
    again under its old version is another one."""
    records = sorted(
        (p.name, p.stat().st_size) for p in folder.iterdir() if "array_record" in p.name
    )
    digest = hashlib.sha256((folder / "dataset_info.json").read_bytes())
    digest.update(json.dumps(records).encode())
    return digest.hexdigest()[:16]
