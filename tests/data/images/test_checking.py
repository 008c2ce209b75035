"""Bad records: found, counted, named, and left out if so many may be."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxmodels.cache import cache_folder
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import BadRow
from jaxmodels.data.images import load_images, normalization_of
from jaxmodels.data.tfds import TfdsRecords
from jaxmodels.errors import InputError
from tests.tfds_folder import example, png, write_image_dataset

SHAPE = (6, 5, 1)


def _images(count, seed=0, shape=SHAPE):
    return list(np.random.default_rng(seed).integers(1, 255, (count, *shape)).astype(np.uint8))


def _write(root, name, bad, shape=SHAPE):
    """Ten good records in train and six in test; `bad` replaces some: (image, label, reason)."""
    images = {"train": _images(10), "test": _images(6, seed=1)}
    labels = {"train": [row % 3 for row in range(10)], "test": [0] * 6}
    for (split, row), (record, label, _) in bad.items():
        images[split][row], labels[split][row] = record, label
    write_image_dataset(root, name, images, labels, shape=shape)
    return images, labels


def _large(image):
    return np.concatenate([image, image])


KINDS = {
    ("train", 1): (b"\xff\xff\xff", 0, "is no tf.train.Example"),
    ("train", 3): (example(None, 1), 0, "has 0 values of 'image'; expected 1"),
    ("train", 4): (example(b"no picture", 1), 0, "cannot be decoded as an image"),
    ("train", 5): (_images(1, 5)[0], 3, "has label 3; expected 0 to 2"),
    ("train", 6): (_images(1, 6)[0], -1, "has label -1 (unknown); expected 0 to 2"),
    ("train", 8): (_images(1, 8, (6, 5, 3))[0], 0, "has 3 channels; expected 1"),
    ("train", 9): (_images(6, 1)[2], 0, "has the same pixels as test[2]"),
    ("test", 0): (_large(_images(1, 7)[0]), 0, "is 12x5 pixels; expected 6x5"),
    ("test", 5): (example(png(_images(1, 9)[0])[:60], 0), 0, "cannot be decoded as an image"),
}


def _assert_rest(data, images, labels):
    for split in ("train", "test"):
        good = [row for row in range(len(images[split])) if (split, row) not in KINDS]
        columns = data.splits[split]
        np.testing.assert_array_equal(columns["image"], [images[split][row] for row in good])
        np.testing.assert_array_equal(columns["label"], [labels[split][row] for row in good])
        assert data.sizes[split] == len(data.records[split]) == len(good)
        np.testing.assert_array_equal(data.labels(split), columns["label"])
    train = data.splits["train"]["image"]
    assert data.normalization() == normalization_of(train)
    assert data.white == train.max()
    assert data.decoded_bytes == sum(split["image"].nbytes for split in data.splits.values())


def test_every_kind_is_named_on_one_line_and_tolerated_up_to_a_number(tmp_path, capsys):
    images, labels = _write(tmp_path, "kinds", KINDS)
    for allowed in (0, 8):
        with pytest.raises(InputError) as raised:
            load_images("kinds", tmp_path, skip_bad_records=allowed)
        message = str(raised.value)
        assert "\n" not in message
        assert message.startswith("data 'kinds' has 9 bad records (2 unreadable, 2 undecodable, ")
        assert f"expected at most {allowed}: " in message
        assert message.endswith("or leave them out: --skip-bad-records 9")
        for (split, row), (_, _, reason) in KINDS.items():
            assert f"{split}[{row}]: {reason}" in message
    capsys.readouterr()
    data = load_images("kinds", tmp_path, skip_bad_records=9)
    assert "note: skipped 9 bad records: train[1]: is no" in capsys.readouterr().err
    assert [(row.split, row.row) for row in data.skipped] == list(KINDS)
    facts = data.facts()
    assert facts["splits"] == {"train": 3, "test": 4}
    assert facts["skipped"]["count"] == 9
    for said, ((split, row), (_, _, reason)) in zip(facts["skipped"]["records"], KINDS.items()):
        assert said.startswith(f"{split}[{row}]: {reason}")
    _assert_rest(data, images, labels)


def test_the_first_of_each_kind_are_listed(tmp_path):
    bad = {("train", row): (b"\xff", 0, "") for row in range(9)}
    bad |= {("test", row): (b"\xff", 0, "") for row in range(5)}
    _write(tmp_path, "many", bad)
    with pytest.raises(InputError, match=r"14 bad records \(14 unreadable\)") as raised:
        load_images("many", tmp_path, skip_bad_records=13)
    assert "test[0]: is no tf.train.Example; and 4 more. " in str(raised.value)
    assert "test[1]" not in str(raised.value)
    rows = [BadRow("train", row, "type", "x") for row in range(9)]
    rows.append(BadRow("test", 3, "size", "y"))
    with pytest.raises(InputError) as raised:
        check_policy("many", rows, 0)
    assert "train[0]: x; test[3]: y; train[1]: x; " in str(raised.value)


def test_all_bad_is_said_plainly(tmp_path):
    bad = {("train", row): (b"\xff", 0, "") for row in range(10)}
    bad |= {("test", row): (b"\xff", 0, "") for row in range(6)}
    _write(tmp_path, "all_bad", bad)
    for allowed in (0, 16):
        with pytest.raises(
            InputError, match=r"all 16 images are bad, the first: train\[0\]: is no"
        ):
            load_images("all_bad", tmp_path, skip_bad_records=allowed)


def test_several_sizes_are_said_with_the_flag(tmp_path):
    splits = {"train": [i for s in range(4, 9) for i in _images(2, s, (s, 5, 1))]}
    write_image_dataset(tmp_path, "sizes", splits, shape=(-1, -1, 1))
    with pytest.raises(InputError) as raised:
        load_images("sizes", tmp_path)
    assert "have 5 sizes (2 of 4x5, 2 of 5x5, 2 of 6x5, 2 of 7x5, 2 of 8x5 pixels)" in str(
        raised.value
    )
    assert "--image-size N" in str(raised.value) and "skip" not in str(raised.value)


def test_clean_data_says_nothing_of_bad_records(tmp_path):
    _write(tmp_path, "clean", {})
    data = load_images("clean", tmp_path, skip_bad_records=5)
    assert data.skipped == ()
    assert set(data.facts()) == {"name", "version", "fingerprint", "splits"}


def test_what_was_found_is_kept(tmp_path, monkeypatch):
    _write(tmp_path, "kept", {("train", 2): (b"\xff", 0, "")})
    with pytest.raises(InputError, match="1 bad record "):
        load_images("kept", tmp_path)
    monkeypatch.setattr(TfdsRecords, "read", None)
    with pytest.raises(InputError, match="1 bad record "):
        load_images("kept", tmp_path)
    data = load_images("kept", tmp_path, skip_bad_records=1)
    assert data.sizes == {"train": 9, "test": 6}
    assert data.shape == SHAPE
    assert not list(cache_folder("data").glob("kept*/.*"))


def test_a_scan_that_was_interrupted_leaves_nothing(tmp_path, monkeypatch):
    _write(tmp_path, "cut", {})
    with monkeypatch.context() as patch:
        patch.setattr(TfdsRecords, "read", lambda self, rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load_images("cut", tmp_path)
    assert not list(cache_folder("data").glob("cut*/*"))
    assert load_images("cut", tmp_path).sizes == {"train": 10, "test": 6}


def test_duplicates_are_bad_across_splits_only_and_the_test_split_stays_whole(tmp_path):
    a, b, c, d = _images(4)
    splits = {"train": [a, a, b, c], "validation": [b, b, d], "test": [d, d, c]}
    write_image_dataset(tmp_path, "twins", splits)
    with pytest.raises(InputError) as raised:
        load_images("twins", tmp_path)
    assert "(3 duplicate)" in str(raised.value)
    data = load_images("twins", tmp_path, skip_bad_records=3)
    assert [str(row) for row in data.skipped] == [
        "train[2]: has the same pixels as validation[0]",
        "train[3]: has the same pixels as test[2]",
        "validation[2]: has the same pixels as test[0]",
    ]
    assert data.sizes == {"train": 2, "validation": 2, "test": 3}


def test_pictures_of_equal_bytes_and_other_shapes_are_no_duplicates(tmp_path):
    image = _images(1)[0]
    splits = {"train": [image, image], "test": [image.reshape(5, 6, 1)]}
    write_image_dataset(tmp_path, "turned", splits, shape=(-1, -1, 1))
    assert load_images("turned", tmp_path, varying=True).skipped == ()


def test_sizes_may_vary_where_the_caller_says_so(tmp_path):
    splits = {"train": [*_images(3), *_images(2, 1, (8, 9, 1))], "test": _images(2, 2)}
    write_image_dataset(tmp_path, "various", splits, shape=(-1, -1, 1))
    with pytest.raises(InputError, match=r"\(2 size\).*train\[3\]: is 8x9 .*expected 6x5"):
        load_images("various", tmp_path)
    data = load_images("various", tmp_path, varying=True)
    assert data.sizes == {"train": 5, "test": 2}
    assert data.shape is None
    pixels = np.concatenate([image.reshape(1, -1, 1, 1) for image in splits["train"]], 1)
    assert data.normalization() == normalization_of(pixels)
    assert data.decoded_bytes == 5 * 30 + 2 * 72
    for image, record in zip(splits["train"], data.records["train"].read(range(5))):
        np.testing.assert_array_equal(data.decoder()(record)["image"], image)
    with pytest.raises(InputError, match="various/train vary in size"):
        data.splits["train"]
    rest = load_images("various", tmp_path, skip_bad_records=2)
    assert (rest.sizes, rest.shape) == ({"train": 3, "test": 2}, SHAPE)


def test_varying_or_not_a_declared_size_holds(tmp_path):
    _write(tmp_path, "declared", {("train", 1): (_large(_images(1, 3)[0]), 0, "")})
    with pytest.raises(InputError, match=r"train\[1\]: is 12x5 pixels; expected 6x5 as declared"):
        load_images("declared", tmp_path, varying=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite(tmp_path, value):
    images = np.random.default_rng(0).normal(3, 2, (8, 6, 5, 1)).astype(np.float32)
    broken = images.copy()
    broken[2, 3, 4] = value
    for name, some in (("broken", broken), ("whole", images)):
        records = [example(png(image.view(np.uint8))) for image in some]
        root, splits = tmp_path / name, {"train": records}
        write_image_dataset(root, f"{name}_floats", splits, shape=SHAPE, dtype="float32")
    with pytest.raises(InputError, match=r"1 non-finite.*\[2\]: has pixels that are not finite"):
        load_images("broken_floats", tmp_path / "broken")
    data = load_images("whole_floats", tmp_path / "whole")
    np.testing.assert_array_equal(data.splits["train"]["image"], images)
    assert data.normalization() == normalization_of(images)
    assert data.white == images.max()


def test_a_split_without_a_good_record_is_gone(tmp_path):
    bad = {("test", row): (b"\xff", 0, "") for row in range(6)}
    _write(tmp_path, "untested", bad)
    data = load_images("untested", tmp_path, skip_bad_records=6)
    assert list(data.splits) == list(data.sizes) == ["train"] and "test" not in data.splits
    bad = {("train", row): (b"\xff", 0, "") for row in range(10)}
    _write(tmp_path, "untrained", bad)
    with pytest.raises(InputError, match="'untrained' has no good image in its training split"):
        load_images("untrained", tmp_path, skip_bad_records=10)


def test_a_validation_split_by_the_key_of_each_record_alone(tmp_path):
    images = _images(200)
    members = {}
    for count in (100, 200):
        name = f"carved{count}"
        splits = {"train": images[:count], "test": _images(3, 1)}
        write_image_dataset(tmp_path, name, splits, {"train": [1] * count, "test": [0] * 3})
        data = load_images(name, tmp_path, validation_fraction=0.2)
        assert list(data.splits) == ["train", "validation", "test"]
        assert data.facts()["validation_fraction"] == 0.2
        rows = {split: data.records[split].rows.tolist() for split in ("train", "validation")}
        assert sorted(rows["train"] + rows["validation"]) == list(range(count))
        members[count] = rows["validation"]
        for split in rows:
            columns = data.splits[split]
            np.testing.assert_array_equal(columns["image"], [images[row] for row in rows[split]])
        assert data.normalization() == normalization_of(data.splits["train"]["image"])
        more = load_images(name, tmp_path, validation_fraction=0.3)
        assert set(rows["validation"]) < set(more.records["validation"].rows.tolist())
        assert "validation" not in load_images(name, tmp_path).splits
    assert members[100] == [row for row in members[200] if row < 100]
    assert 24 <= len(members[200]) <= 56  # three standard deviations about 40


def test_a_bad_record_of_a_carved_split_has_its_stored_row(tmp_path):
    images = _images(40)
    images[23] = b"\xff"
    for fraction in (0.1, 0.9):
        write_image_dataset(tmp_path / str(fraction), "part", {"train": images}, shape=SHAPE)
        with pytest.raises(InputError, match=r"1 bad record .* train\[23\]: is no"):
            load_images("part", tmp_path / str(fraction), validation_fraction=fraction)


def test_fractions_that_cannot_be(tmp_path):
    _write(tmp_path, "small", {})
    splits = {"train": _images(3), "validation": _images(3, 1)}
    write_image_dataset(tmp_path, "validated", splits)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match=r"validation_fraction = .*at least 0 and below 1"):
            load_images("small", tmp_path, validation_fraction=fraction)
    for name in ("digits", "validated"):
        with pytest.raises(InputError, match=f"'{name}' has a validation split already"):
            load_images(name, tmp_path, validation_fraction=0.1)
    for fraction, empty in ((1e-9, "validation"), (1 - 1e-9, "training")):
        with pytest.raises(InputError, match=f"leaves no {empty} record of the 10"):
            load_images("small", tmp_path, validation_fraction=fraction)


def test_the_whole_list_is_in_a_file_that_the_message_names(tmp_path, capsys):
    bad = {("train", row): (b"\xff", 0, "") for row in range(9)}
    bad |= {("test", row): (b"\xff", 0, "") for row in range(5)}
    _write(tmp_path, "listed", bad)
    with pytest.raises(InputError) as raised:
        load_images("listed", tmp_path)
    data = load_images("listed", tmp_path, skip_bad_records=14)
    for said in (str(raised.value), capsys.readouterr().err):
        path = re.search(r"The whole list: (\S+\.txt)", said)
        assert path
        lines = Path(path[1]).read_text().splitlines()
        assert lines == [str(row) for row in data.skipped] and len(lines) == 14


@pytest.mark.parametrize(
    ("odd", "mend"),
    [
        (np.zeros((7, 5, 3), np.uint8), "--image-size N brings images to one size"),
        (np.full((6, 5, 4), 9, np.uint8), "mogrify -background white -alpha remove"),
        (np.full((6, 5, 3), 999, np.uint16), "mogrify -depth 8"),
    ],
)
def test_what_mends_pictures_is_said(tmp_path, odd, mend):
    folder = tmp_path / "cat"
    folder.mkdir()
    for row, image in enumerate([*_images(4, shape=(6, 5, 3)), odd]):
        cv2.imwrite(str(folder / f"{row}.png"), image)
    with pytest.raises(InputError, match=rf"1 bad record .*cat/4.png .*{mend}.*Mend the data"):
        load_images(str(tmp_path))
