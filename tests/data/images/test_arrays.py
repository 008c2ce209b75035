"""Images of a notebook as data."""

import numpy as np
import pytest

from jaxmodels.data import Resident
from jaxmodels.data.images import (
    DataConfig,
    images_from_arrays,
    load_images,
    make_source,
    normalization_of,
    resize_images,
)
from jaxmodels.errors import InputError


def _splits(dtype=np.uint8, **lengths):
    generator = np.random.default_rng(0)
    return {
        split: {
            "image": generator.integers(0, 200, (length, 6, 5, 1)).astype(dtype),
            "label": np.arange(length) % 3,
        }
        for split, length in (lengths or {"train": 12, "test": 5}).items()
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_is_what_the_arrays_are(dtype):
    splits = _splits(dtype)
    data = images_from_arrays(splits, name="mine")
    assert (data.name, data.class_names) == ("mine", ("0", "1", "2"))
    assert (data.shape, data.dtype, data.sizes) == ((6, 5, 1), dtype, {"train": 12, "test": 5})
    train = splits["train"]["image"]
    assert (data.white, data.smallest) == (train.max(), train.min())
    assert data.levels == (0 if dtype == np.float32 else train.max() + 1)
    assert data.normalization() == normalization_of(train)
    assert data.decoded_bytes == sum(columns["image"].nbytes for columns in splits.values())
    assert data.records == {} and data.skipped == ()
    for split, columns in splits.items():
        source = make_source(data, split, DataConfig())
        assert isinstance(source, Resident)
        np.testing.assert_array_equal(source.arrays["image"], columns["image"])
        np.testing.assert_array_equal(source.arrays["label"], columns["label"])
        assert source.arrays["label"].dtype == data.labels(split).dtype == np.int32
    facts = data.facts()
    assert set(facts) == {"name", "version", "fingerprint", "splits"}
    assert (facts["name"], facts["splits"]) == ("mine", {"train": 12, "test": 5})


def test_the_fingerprint_is_of_the_content():
    def fingerprint(change=lambda splits: None, **options):
        splits = _splits()
        change(splits)
        return images_from_arrays(splits, **options).fingerprint

    def pixel(splits):
        splits["test"]["image"][4, 5, 4, 0] += 1

    def label(splits):
        splits["train"]["label"][0] = 1

    def order(splits):
        splits["train"] = dict(reversed(splits["train"].items()))
        splits["test"] = splits.pop("test")

    def layout(splits):
        splits["train"]["image"] = np.asfortranarray(splits["train"]["image"])

    assert fingerprint() == fingerprint() == fingerprint(order) == fingerprint(layout)
    assert fingerprint(name="other") == fingerprint()
    others = {fingerprint(pixel), fingerprint(label), fingerprint(class_names=("a", "b", "c"))}
    assert len(others | {fingerprint()}) == 4


def test_images_without_labels_and_other_columns():
    splits = {"train": {"image": np.zeros((4, 2, 2, 3)), "weight": np.arange(4.0)}}
    data = images_from_arrays(splits)
    assert (data.class_names, data.labels("train"), data.dtype) == ((), None, np.float32)
    source = make_source(data, "train", DataConfig())
    assert {name: column.dtype for name, column in source.arrays.items()} == {
        "image": np.float32,
        "weight": np.float32,
    }


def test_wide_and_narrow_types_become_what_a_device_has():
    splits = {"train": {"image": np.eye(4, dtype=bool).reshape(1, 4, 4, 1), "n": np.array([7])}}
    columns = images_from_arrays(splits).splits["train"]
    assert (columns["image"].dtype, columns["n"].dtype) == (np.uint8, np.int32)
    assert images_from_arrays(splits).levels == 2


def test_further_splits_stand_last():
    data = images_from_arrays(_splits(hard=4, test=5, validation=3, train=6))
    assert list(data.sizes) == ["train", "validation", "test", "hard"]


def test_digits_are_arrays_of_their_own_identity():
    digits = load_images("digits")
    again = images_from_arrays(digits.splits, "digits", digits.class_names)
    assert again.pixels == digits.pixels
    assert digits.facts() == {
        "name": "digits",
        "version": "1.0.0",
        "fingerprint": digits.fingerprint,
        "splits": {"train": 1280, "validation": 157, "test": 360},
    }
    assert (digits.levels, digits.smallest) == (17, 0)


def test_floats_are_resized_without_rounding():
    splits = _splits(np.float32)
    for columns in splits.values():
        columns["image"] /= 200
    small = resize_images(images_from_arrays(splits), 3)
    image = small.splits["train"]["image"]
    assert (image.shape, image.dtype, small.shape) == ((12, 3, 3, 1), np.float32, (3, 3, 1))
    assert len(np.unique(image)) > 20


IMAGE = np.zeros((4, 3, 3, 1), np.uint8)
LABEL = np.zeros(4, int)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": {"image": IMAGE}}, "'mine' has no training split; expected 'train'. Found: test"),
        ({"train": {"label": LABEL}}, "'mine/train' has no column 'image'; found: label"),
        ({"train": {"image": IMAGE[..., 0]}}, r"expected \[example, height, .*image\[..., None\]"),
        ({"train": {"image": IMAGE[:, :0]}}, r"shape \(4, 0, 3, 1\); expected .* above 0$"),
        ({"train": {"image": IMAGE[:0]}}, "'mine/train' has columns of lengths"),
        ({"train": {"image": IMAGE, "label": LABEL[:3]}}, "'mine/train' has columns of lengths"),
        ({"train": {"image": IMAGE * np.float32("nan")}}, "mine/train/image' has pixels that are"),
        ({"train": {"image": IMAGE.astype(str)}}, "'mine/train/image' is an array of <U"),
        ({"train": {"image": IMAGE, "label": LABEL / 2}}, "array of float32 .* expected one int"),
        ({"train": {"image": IMAGE, "label": LABEL[:, None]}}, "expected one integer for each"),
        ({"train": {"image": IMAGE, "label": LABEL - 1}}, "'mine/train/label' has -1; expected"),
        ({"train": {"image": IMAGE, "label": LABEL + 2**40}}, "more than 32 bits"),
        (
            {"train": {"image": IMAGE}, "test": {"image": IMAGE, "label": LABEL}},
            "'mine' has columns image, label in test; expected image, as in train",
        ),
        (
            {"train": {"image": IMAGE}, "test": {"image": IMAGE[:, :2]}},
            r"'mine/test/image' has examples of uint8 with shape \(2, 3, 1\); expected uint8 with"
            r" \(3, 3, 1\), as in train",
        ),
        (
            {"train": {"image": IMAGE}, "test": {"image": IMAGE / 2}},
            "'mine/test/image' has examples of float32",
        ),
    ],
)
def test_arrays_that_are_no_images_are_named(splits, message):
    with pytest.raises(InputError, match=message):
        images_from_arrays(splits, "mine")


def test_names_of_classes_must_fit_the_labels():
    with pytest.raises(InputError, match="label 2; expected 0 to 1, as there are 2 class_names"):
        images_from_arrays(_splits(), class_names=("a", "b"))
    with pytest.raises(InputError, match=r"class_names = \('a',\); data 'arrays' has no column"):
        images_from_arrays({"train": {"image": IMAGE}}, class_names=("a",))
