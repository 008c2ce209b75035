"""Writes a tfds data set of images as tfds itself would, without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image


def write_image_dataset(
    root: Path,
    name: str,
    splits: dict[str, list[np.ndarray]],
    labels: dict[str, list[int]] | None = None,
    classes: int = 3,
    file_format: str = "array_record",
    version: str = "1.2.0",
    shape: tuple[int, ...] | None = None,
) -> Path:
    """The folder root/name/version. shape: what the features claim; None: the first image's."""
    folder = root / name / version
    folder.mkdir(parents=True)
    package = "tensorflow_datasets.core.features"
    first = next(iter(splits.values()))[0]
    dimensions = [str(size) for size in shape or first.shape]
    features = {
        "image": {
            "pythonClassName": f"{package}.image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": dimensions}},
        }
    }
    if labels is not None:
        features["label"] = {
            "pythonClassName": f"{package}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(classes)},
        }
        names = "\n".join(f"kind{index}" for index in range(classes))
        (folder / "label.labels.txt").write_text(names)
    everything = {
        "pythonClassName": f"{package}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    (folder / "features.json").write_text(json.dumps(everything))
    split_infos = []
    for split, images in splits.items():
        path = folder / f"{name}-{split}.{file_format}-00000-of-00001"
        records = [
            _example(image, None if labels is None else labels[split][row])
            for row, image in enumerate(images)
        ]
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        split_infos.append(
            {
                "name": split,
                "numBytes": str(sum(map(len, records))),
                "shardLengths": [str(len(images))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    info = {"name": name, "version": version, "fileFormat": file_format, "splits": split_infos}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def _example(image: np.ndarray, label: int | None) -> bytes:
    """A tf.train.Example in protocol buffer wire format."""
    png = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(png, "PNG")
    features = _entry("image", _field(1, _field(1, png.getvalue())))
    if label is not None:
        features += _entry("label", _field(3, _field(1, _varint(label))))
    return _field(1, features)


def _entry(key: str, feature: bytes) -> bytes:
    return _field(1, _field(1, key.encode()) + _field(2, feature))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
