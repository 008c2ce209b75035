"""Image data sets: the embedded digits, and tfds folders read without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from jaxmodels.cache import cache_folder
from jaxmodels.data.images import (
    images_from_arrays,
    load_images,
    normalization_of,
    resize_images,
)
from jaxmodels.errors import InputError
from tests.tfds_folder import write_image_dataset


def _images(count, shape=(6, 5, 1), seed=0):
    return list(np.random.default_rng(seed).integers(0, 255, (count, *shape)).astype(np.uint8))


def test_digits_are_all_there_once_and_stratified():
    data = load_images("digits")
    sizes = {name: len(split["label"]) for name, split in data.splits.items()}
    assert sizes == {"train": 1280, "validation": 157, "test": 360}
    found = np.concatenate([split["image"] for split in data.splits.values()])
    original = datasets.load_digits().images[..., None].astype(np.uint8)
    as_rows = [
        np.unique(a.reshape(len(a), -1), axis=0, return_counts=True) for a in (found, original)
    ]
    np.testing.assert_array_equal(as_rows[0][0], as_rows[1][0])
    np.testing.assert_array_equal(as_rows[0][1], as_rows[1][1])
    total = np.bincount(datasets.load_digits().target)
    for split in data.splits.values():
        share = total * len(split["label"]) / 1797
        assert np.abs(np.bincount(split["label"]) - share).max() <= 1.5
    assert load_images("digits").fingerprint == data.fingerprint


def test_a_users_own_tfds_data_set(tmp_path):
    splits = {"train": _images(23), "test": _images(7, seed=1)}
    labels = {"train": [i % 3 for i in range(23)], "test": [2] * 7}
    write_image_dataset(tmp_path, "my_images", splits, labels)
    data = load_images("my_images", tmp_path)
    assert data.class_names == ("kind0", "kind1", "kind2")
    assert data.facts()["splits"] == {"train": 23, "test": 7}
    assert data.facts()["version"] == "1.2.0"
    for name, split in data.splits.items():
        np.testing.assert_array_equal(split["image"], splits[name])
        np.testing.assert_array_equal(split["label"], labels[name])
        assert isinstance(split["image"], np.memmap)
        assert split["label"].dtype == np.int32


def test_a_data_set_is_decoded_once_and_again_when_it_changed(tmp_path, capsys):
    for number, count in enumerate((5, 6)):
        root = tmp_path / str(number)
        write_image_dataset(root, "changing", {"train": _images(count)})
        for attempt in range(2):
            data = load_images("changing", root)
            said = capsys.readouterr().err
            assert ("checking" in said) == (attempt == 0)
            assert data.sizes == {"train": count} and "train" in data.splits
            assert "decoding" not in said
            assert len(data.splits["train"]["image"]) == count
            assert ("decoding" in capsys.readouterr().err) == (attempt == 0)
    assert not list(cache_folder("data").glob("changing*/.*"))


def test_colour_and_no_labels(tmp_path):
    images = _images(4, (3, 3, 3))
    write_image_dataset(tmp_path, "colour", {"train": images})
    data = load_images("colour", tmp_path)
    assert data.class_names == ()
    np.testing.assert_array_equal(data.splits["train"]["image"], images)


def test_reading_imports_neither_tensorflow_nor_torch(tmp_path):
    write_image_dataset(tmp_path, "light", {"train": _images(3)})
    code = (
        "import sys; from jaxmodels.data.images import load_images;"
        f"load_images('light', {str(tmp_path)!r});"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_data_is_named(tmp_path):
    write_image_dataset(tmp_path, "known_images", {"train": _images(2)})
    with pytest.raises(InputError, match="'known_image'; did you mean 'known_images'"):
        load_images("known_image", tmp_path)
    with pytest.raises(InputError, match=r"'mnist' is not prepared.*tfds build mnist"):
        load_images("mnist", tmp_path)
    for name in ("", "a b", "mnist:9.9.9", "mnist/foo"):
        with pytest.raises(InputError, match=f"data '{name}'"):
            load_images(name, tmp_path)
    write_image_dataset(tmp_path, "records", {"train": _images(2)}, file_format="tfrecord")
    with pytest.raises(InputError, match=r"tfrecord.*tfds convert_format .*records/1\.2\.0"):
        load_images("records", tmp_path)
    write_image_dataset(tmp_path, "test_only", {"test": _images(2)})
    with pytest.raises(InputError, match=r"no training split.*Found: test"):
        load_images("test_only", tmp_path)
    sizes = {"train": [*_images(2, (4, 4, 1)), *_images(1, (5, 4, 1))]}
    write_image_dataset(tmp_path, "sizes", sizes, shape=(-1, -1, 1))
    with pytest.raises(InputError, match=r"train\[2\]: is 5x4 pixels; expected 4x4"):
        load_images("sizes", tmp_path)
    assert not list(cache_folder("data").glob("sizes*/train"))
    with pytest.raises(InputError, match=r"skip_bad_records = -1"):
        load_images("digits", skip_bad_records=-1)


@pytest.mark.parametrize("kind", ["digits", "stored"])
def test_what_is_known_without_the_arrays_is_what_they_say(tmp_path, kind):
    splits = {"train": _images(9, (6, 5, 3)), "test": _images(4, (6, 5, 3), seed=1)}
    write_image_dataset(tmp_path, "stored", splits, {"train": [0, 1, 2] * 3, "test": [2] * 4})
    data = load_images(kind, tmp_path)
    train = data.splits["train"]
    assert data.shape == train["image"].shape[1:]
    assert data.dtype == train["image"].dtype == np.uint8
    assert data.white == train["image"].max()
    assert data.smallest == train["image"].min()
    assert data.levels == data.white + 1
    assert data.normalization() == normalization_of(train["image"])
    assert data.decoded_bytes == sum(split["image"].nbytes for split in data.splits.values())
    assert data.sizes == {name: len(split["image"]) for name, split in data.splits.items()}
    for name in data.splits:
        np.testing.assert_array_equal(data.labels(name), data.splits[name]["label"])
    assert bool(data.records) == (kind == "stored")


def test_data_of_arrays_says_what_these_say():
    data = images_from_arrays({"train": {"image": np.full((3, 2, 2, 1), 7, np.float32)}})
    assert (data.sizes, data.shape, data.white) == ({"train": 3}, (2, 2, 1), 7.0)
    assert (data.dtype, data.records, data.labels("train")) == (np.float32, {}, None)
    assert data.normalization() == ((7.0,), (1.0,))


@pytest.mark.parametrize("broken", [None, "train", "test"])
def test_whether_images_are_black_and_white_is_known_of_the_training_split(tmp_path, broken):
    generator = np.random.default_rng(0)
    splits = {
        split: list((generator.random((count, 6, 5, 1)) < 0.5).astype(np.uint8) * np.uint8(200))
        for split, count in (("train", 9), ("test", 4))
    }
    splits["train"][3][:] = 0
    if broken:
        splits[broken][1][splits[broken][1] > 0] = 199  # of two values, too
    name = f"drawn_{broken}".lower()
    write_image_dataset(tmp_path, name, splits)
    data = load_images(name, tmp_path)
    same = images_from_arrays({split: {"image": np.stack(some)} for split, some in splits.items()})
    assert data.pixels == same.pixels
    assert data.levels == same.levels == (201 if broken == "train" else 2)
    assert resize_images(data, 4).levels == 201
