"""Image data sets of tensorflow-datasets, read without TensorFlow and decoded once.

Random access to ArrayRecord decodes at some 100 us an image, so a data set is decoded once into
.npy files, which are memory-mapped from then on.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.images import ImageData
from jaxmodels.errors import InputError, closest

SPLITS = ("train", "validation", "test")
_CHUNK = 1000


def load_tfds_images(name: str, data_dir: str | Path | None) -> ImageData:
    """As `load_images`, for a data set that tfds has prepared."""
    builder = _prepared_builder(name, data_dir)
    image, label = _image_and_label(name, builder.info.features)
    folder = Path(builder.data_path)
    fingerprint = _fingerprint(folder)
    splits = {}
    for split in SPLITS:
        if split in builder.info.splits and builder.info.splits[split].num_examples:
            target = cache_folder("data") / f"{name}-{builder.info.version}-{fingerprint}" / split
            if not target.exists():
                _decode(builder, split, image, label, target)
            splits[split] = {
                path.stem: np.load(path, mmap_mode="r") for path in sorted(target.glob("*.npy"))
            }
    if "train" not in splits:
        raise InputError(
            f"data '{name}' has no training split; expected 'train'."
            f" Found: {', '.join(builder.info.splits) or 'none'}"
        )
    names = tuple(builder.info.features[label].names) if label else ()
    return ImageData(name, str(builder.info.version), fingerprint, splits, names)


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


def _decode(builder, split: str, image: str, label: str | None, target: Path) -> None:
    """Writes the split's columns to a folder that appears at `target` only when complete."""
    source = builder.as_data_source(split)
    size = len(source)
    print(f"decoding {size:,} images of {builder.info.name}/{split}, once", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=target.parent))
    try:
        columns = {}
        for row, example in enumerate(_examples(source, size)):
            pixels = np.asarray(example[image])
            if not columns:
                columns["image"] = _create(partial, "image", (size, *pixels.shape), pixels.dtype)
                if label:
                    columns["label"] = _create(partial, "label", (size,), np.int32)
            expected = columns["image"].shape[1:]
            if pixels.shape != expected:
                raise InputError(
                    f"data '{builder.info.name}': image {row} of split {split} has shape"
                    f" {pixels.shape}, the first {expected}; expected one shape for all"
                )
            columns["image"][row] = pixels
            if label:
                columns["label"][row] = example[label]
        for column in columns.values():
            column.flush()
        # Another process may have made it meanwhile; its files hold the same.
        if not target.exists():
            os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _examples(source, size: int) -> Iterator[dict]:
    for start in range(0, size, _CHUNK):
        # Four times as fast as one by one.
        yield from source.__getitems__(list(range(start, min(start + _CHUNK, size))))


def _create(folder: Path, name: str, shape: tuple[int, ...], dtype) -> np.memmap:
    path = folder / f"{name}.npy"
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
