"""Writes a tfds data set of images as tfds itself would, without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_generated_pb2


def write_image_dataset(
    root: Path,
    name: str,
    splits: dict[str, list[np.ndarray | bytes]],
    labels: dict[str, list[int]] | None = None,
    classes: int = 3,
    file_format: str = "array_record",
    version: str = "1.2.0",
    shape: tuple[int, ...] | None = None,
    dtype: str = "uint8",
) -> Path:
    """The folder root/name/version. Bytes instead of an image: a record as it is (see `example`).

    shape: what the features claim; None: the first image's.
    """
    folder = root / name / version
    folder.mkdir(parents=True)
    package = "tensorflow_datasets.core.features"
    dimensions = [str(size) for size in shape or next(iter(splits.values()))[0].shape]
    features = {
        "image": {
            "pythonClassName": f"{package}.image_feature.Image",
            "image": {"dtype": dtype, "shape": {"dimensions": dimensions}},
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
            image
            if isinstance(image, bytes)
            else example(png(image), None if labels is None else labels[split][row])
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


def png(image: np.ndarray) -> bytes:
    """The 8-bit image as a file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


def example(encoded: bytes | None, label: int | None = None) -> bytes:
    """A record of an encoded image and a label, without those that are None."""
    message = tf_example_generated_pb2.Example()
    if encoded is not None:
        message.features.feature["image"].bytes_list.value.append(encoded)
    if label is not None:
        message.features.feature["label"].int64_list.value.append(label)
    return message.SerializeToString()
