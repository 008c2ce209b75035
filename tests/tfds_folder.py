"""Writes tfds data sets as tfds itself would, without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
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
    sides = shape or next(iter(splits.values()))[0].shape
    sides = tuple(None if side == -1 else side for side in sides)
    features = {"image": tfds.features.Image(shape=sides, dtype=np.dtype(dtype))}
    if labels is not None:
        names = [f"kind{index}" for index in range(classes)]
        features["label"] = tfds.features.ClassLabel(names=names)
    records = {
        split: [
            image
            if isinstance(image, bytes)
            else example(png(image), None if labels is None else labels[split][row])
            for row, image in enumerate(images)
        ]
        for split, images in splits.items()
    }
    return write_dataset(root, name, features, records, file_format, version)


def write_dataset(
    root: Path,
    name: str,
    features: dict[str, tfds.features.FeatureConnector],
    splits: dict[str, list[bytes]],
    file_format: str = "array_record",
    version: str = "1.2.0",
    config: str = "",
) -> Path:
    """The folder root/name/version, or root/name/config/version, of these records (each a
    serialised tf.train.Example)."""
    folder = root / name / config / version
    folder.mkdir(parents=True)
    if config:
        (root / name / ".config").mkdir()
        default = json.dumps({"default_config_name": config})
        (root / name / ".config/metadata.json").write_text(default)
    tfds.features.FeaturesDict(features).save_config(folder)
    split_infos = []
    for split, records in splits.items():
        path = folder / f"{name}-{split}.{file_format}-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        split_infos.append(
            {
                "name": split,
                "numBytes": str(sum(map(len, records))),
                "shardLengths": [str(len(records))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    info = {"name": name, "version": version, "fileFormat": file_format, "splits": split_infos}
    info |= {"configName": config} if config else {}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def png(image: np.ndarray) -> bytes:
    """The 8-bit image as a file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


def example(encoded: bytes | None, label: int | None = None) -> bytes:
    """A record of an encoded image and a label, without those that are None."""
    values = {"image": encoded, "label": label}
    return serialized({name: [value] for name, value in values.items() if value is not None})


def serialized(features: dict[str, list]) -> bytes:
    """A tf.train.Example of these values: all bytes, all integers or all floats."""
    message = tf_example_generated_pb2.Example()
    for name, values in features.items():
        kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
        getattr(message.features.feature[name], kinds[type(values[0])]).value.extend(values)
    return message.SerializeToString()


def describe_as_audio(folder: Path, feature: str, rate: int) -> None:
    """Makes a feature of integers one of sound, which tfds describes only with TensorFlow."""
    described = json.loads((folder / "features.json").read_text())
    described["featuresDict"]["features"][feature] = {
        "audio": {
            "dtype": "int16",
            "encoding": "NONE",
            "fileFormat": "wav",
            "sampleRate": str(rate),
            "shape": {"dimensions": ["-1"]},
        },
        "pythonClassName": "tensorflow_datasets.core.features.audio_feature.Audio",
    }
    (folder / "features.json").write_text(json.dumps(described))


def write_spoken_digits(
    root: Path, name: str, splits: dict[str, list[tuple[np.ndarray, str, int]]], rate: int, classes
) -> Path:
    """The folder of a data set of sounds, each with the name of its file and a class."""
    features = {
        "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16),
        "audio/filename": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=list(classes)),
    }
    records = {
        split: [
            serialized(
                {"audio": sound.tolist(), "audio/filename": [file.encode()], "label": [label]}
            )
            for sound, file, label in some
        ]
        for split, some in splits.items()
    }
    folder = write_dataset(root, name, features, records)
    describe_as_audio(folder, "audio", rate)
    return folder
