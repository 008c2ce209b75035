"""Pictures with boxes: digits, letterboxes, sources and other data."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxmodels.data.boxes import (
    BoxConfig,
    boxes_elsewhere,
    boxes_from_arrays,
    letterbox,
    load_boxes,
    scale_of,
)
from jaxmodels.data.boxes.digits import SIZES, scattered_digits
from jaxmodels.data.images import resize_image
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from tests.data.boxes import files


def given(train=5, test=2):
    return {
        split: dict(zip(("image", "boxes", "labels"), zip(*some)))
        for split, some in files.splits(train, test).items()
    }


def load(data=None, **flags):
    return load_boxes(BoxConfig(image_size=files.CANVAS, **flags), data or given())


def test_digits_are_the_same_every_time_and_lie_in_their_boxes():
    dataset = scattered_digits()
    assert {split: len(records) for split, records in dataset.splits.items()} == SIZES
    rows = [7, 3, 11]
    records = dataset.splits["train"].read(rows)
    [again] = scattered_digits().splits["train"].read([11])
    np.testing.assert_array_equal(records[2]["image"], again["image"])
    assert (
        records[0]["image"].shape != dataset.splits["test"].read([7])[0]["image"].shape
        or (records[0]["image"] != dataset.splits["test"].read([7])[0]["image"]).any()
    )
    for record in records:
        height, width = record["image"].shape[:2]
        boxes = record["boxes"]
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (width, height)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()
    assert dataset.names["labels"] == tuple("0123456789")


def test_digits_of_the_splits_are_different_ones():
    splits = scattered_digits().splits
    images = {split: {image.tobytes() for image in r._images} for split, r in splits.items()}
    assert not images["train"] & images["test"] and not images["train"] & images["validation"]


@pytest.mark.parametrize("size", [(30, 40), (61, 50), (9, 48), (200, 7), (32, 48)])
def test_a_letterbox_keeps_proportions_and_places(size):
    canvas = files.CANVAS
    random = np.random.default_rng(0)
    # Smooth pictures, so that only places matter: a slope along each axis.
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.stack([rows / size[0] * 255, columns / size[1] * 255, rows * 0], -1)
    placed = letterbox(image.astype(np.uint8), canvas)
    scale = scale_of(size, canvas)
    tall, wide = (min(max(1, round(s * scale)), c) for s, c in zip(size, canvas))
    assert placed.shape == (*canvas, 3)
    assert (placed[tall:] == 114).all() and (placed[:, wide:] == 114).all()
    down = (np.arange(tall) + 0.5) / scale / size[0] * 255
    inner = slice(1, max(1, tall - 1))
    np.testing.assert_allclose(placed[inner, 0, 0], down[inner], atol=2 + 255 / size[0])
    noise = random.integers(0, 256, (*size, 3), np.uint8)
    if size == canvas:
        np.testing.assert_array_equal(letterbox(noise, canvas), noise)


def test_a_letterbox_of_a_square_is_the_house_s_resizing():
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    np.testing.assert_array_equal(letterbox(image, (20, 20)), resize_image(image, 20))


def test_streamed_batches_are_resident_ones():
    resident, streamed = (load(loading=way).source("train") for way in ("resident", "streamed"))
    columns = {name: jax.numpy.asarray(column) for name, column in resident.arrays.items()}
    assert resident.spec(3) == streamed.spec(3)
    order, spans = Order(5, 3, seed=1), [(0, 2), (2, 4)]
    pairs = zip(resident.send(order, spans, 2), streamed.send(order, spans, 2), strict=True)
    for ours, theirs in pairs:
        for at in range(2):
            batch = resident.batch(columns, {"row": jax.numpy.asarray(ours["row"][at])})
            for name, column in theirs.items():
                np.testing.assert_array_equal(batch[name], column[at], err_msg=name)


def test_the_largest_boxes_are_kept_for_training_and_all_for_scores():
    data = load(most_boxes=1)
    columns = data.source("train").examples(np.arange(5))
    assert columns["boxes"].shape == (5, 1, 4) and data.facts()["most_boxes"] == 1
    truth = data.truth("train")
    for row, some in enumerate(truth):
        areas = np.prod(some.boxes[:, 2:] - some.boxes[:, :2], axis=1)
        assert columns["labels"][row, 0] == some.labels[areas.argmax()]
    assert max(len(some.labels) for some in truth) == 2


def test_validation_is_carved_from_training():
    data = load(given(12, 2), validation_fraction=0.4)
    sizes = data.sizes
    assert sizes["train"] + sizes["validation"] == 12 and sizes["test"] == 2
    assert data.facts()["validation_fraction"] == 0.4
    ids = [data.source(split).examples(np.arange(sizes[split]))["image_id"] for split in sizes]
    assert sorted([*ids[0], *ids[1]]) == list(range(12))


def test_pictures_in_two_splits_are_bad():
    both = given()
    both["test"] = {name: column[:2] for name, column in both["train"].items()}
    with pytest.raises(InputError, match=r"2 duplicate.*has the same pixels as test\[0\]"):
        load(both)
    data = load(both, skip_bad_records=2)
    assert data.sizes == {"train": 3, "test": 2} and data.facts()["skipped"]["count"] == 2


def test_arrays_may_have_class_names():
    data = load(boxes_from_arrays(given(), "pets", ["cat", "dog", "cow"]))
    assert data.class_names == ("cat", "dog", "cow") and data.name == "pets"
    assert data.counts("train") == [5, 2, 0]


def test_facts_and_summary_name_what_was_found():
    data = load()
    assert data.facts()["splits"] == {"train": 5, "test": 2}
    assert data.summary().startswith("train 5 pictures with 7 objects, test 2 pictures with 3")
    assert data.summary().endswith("; trained on 0 5, 1 2")
    assert data.fingerprint == load().fingerprint != load(given(4)).fingerprint


def test_other_pictures_get_the_labels_of_the_run_s_classes(capsys):
    data = load()
    other = load(given(3, 2))
    wider = replace(data, class_names=("0", "1", "2", "3"), canvas=(20, 20))
    assert boxes_elsewhere(wider, other).canvas == (20, 20)
    assert "lacks classes: 2, 3" in capsys.readouterr().err
    swapped = load_boxes(BoxConfig(image_size=files.CANVAS), data)
    assert swapped is data
    turned = boxes_elsewhere(replace(data, class_names=("1", "0")), other)
    assert list(turned.sizes) == ["test"]
    was, now = other.truth("test")[1].labels, turned.truth("test")[1].labels
    assert now.tolist() == (1 - was).tolist()
    columns = turned.source("test").examples(np.arange(2))
    assert columns["labels"][1, : len(now)].tolist() == now.tolist()
    with pytest.raises(InputError, match="classes that the run lacks: 1"):
        boxes_elsewhere(replace(data, class_names=("0",)), other)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"image_size": (8,)}, "at least 16 pixels"),
        ({"image_size": (32, 32, 3)}, "one side, or height and width"),
        ({"most_boxes": -1}, "at least 0"),
        ({"validation_fraction": 1.0}, "below 1"),
        ({"data": "bccdd"}, "unknown data 'bccdd'"),
    ],
)
def test_flags_out_of_range_are_refused(flags, told, tmp_path):
    with pytest.raises(InputError, match=told):
        load_boxes(BoxConfig(data_dir=str(tmp_path), **flags))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"image": [], "boxes": []}, "no column 'labels'"),
        ({"image": [0], "boxes": [], "labels": []}, "lengths"),
        ({"image": [0], "boxes": [[1, 2]], "labels": [[0]]}, "picture 0"),
        ({"image": [0], "boxes": [[[1, 2, 3, 4]]], "labels": [[0, 1]]}, "one label a box"),
    ],
)
def test_arrays_that_are_none_are_refused(columns, told):
    with pytest.raises(InputError, match=told):
        load({"train": columns})
    with pytest.raises(InputError, match="no training split"):
        load({"test": columns})
    with pytest.raises(InputError, match="data is a list"):
        load([columns])
