"""Which folders are splits, which are classes, and which are refused by name."""

import pytest

from jaxmodels.data.images.layout import Tree, find_splits, ignored_folders, place_of
from jaxmodels.errors import InputError


def _tree(*images):
    folders = {
        "/".join(path.split("/")[: n + 1]) for path in images for n in range(path.count("/"))
    }
    return Tree("photos", images, sorted(folders))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("Training", "VAL", "Testing"),
        ("TRAIN", "valid", "TEST"),
    ],
)
def test_splits_by_any_usual_name(train, validation, test):
    tree = _tree(*(f"{split}/{name}/1" for split in (train, validation, test) for name in "ab"))
    assert find_splits(tree) == {"train": train, "validation": validation, "test": test}
    assert place_of(f"{train}/a/deep") == ("train", "a")
    assert place_of("a/deep") == ("", "a")


def test_without_splits_all_is_to_train_on():
    assert find_splits(_tree("a/1", "b/1")) == {"train": ""}
    assert find_splits(_tree("1", "2")) == {"train": ""}
    assert find_splits(_tree("train/1", "test/1")) == {"train": "train", "test": "test"}
    assert find_splits(_tree("a/deep/1")) == {"train": ""}  # one class for a GAN
    assert find_splits(_tree("a/deep/1", "b/deep/1", "b/other/1")) == {"train": ""}
    assert find_splits(_tree("tests done/1", "contest/1", "trainers/1", "latest/1"))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["train/a/1", "Training/a/1"], "has folders train and Training; .* the train split"),
        (["train/a/1", "val/a/1", "valid/a/1"], "folders valid and val; .*validation split"),
        (["val/a/1", "test/a/1"], r"no training split.*Found: (val, test|test, val)"),
        (["train/a/1", "test_set/a/1"], "has folder test_set: splits by the look of it"),
        (["train_data/a/1", "Test-Data/a/1"], "has folders Test-Data, train_data: splits"),
        (
            ["seg_train/a/1", "seg_test/a/1", "seg_pred/1"],
            "has folders seg_test, seg_train: splits",
        ),
        (["train/a/1", "eval/a/1"], "has folder eval: splits by the look of it"),
        (["train/1", "bus/1", "car/1"], "images in train, which may be a split or, like bus"),
        (["chest/train/a/1", "chest/test/a/1"], r"name the folder .*--data photos/chest$"),
        (["chest/train/a/1", "chest/train/b/1"], r"--data photos/chest$"),
        (["chest/a/1", "chest/b/1"], r"one class, 'chest'.*--data photos/chest$"),
        (["x/chest/a/1", "x/chest/b/1"], r"one class, 'x'.*--data photos/x/chest$"),
        (["x/chest/train/a/1", "x/chest/test/a/1"], r"--data photos/x/chest$"),
        (["train/chest/a/1", "train/chest/b/1", "test/chest/a/1"], r"photos/train/chest$"),
        (["one/train/a/1", "one/test/a/1", "two/train/a/1", "two/test/a/1"], "--data photos/one"),
        (["a/train/1", "a/test/1", "b/train/1", "b/test/1"], "expected train/CLASS"),
    ],
)
def test_what_may_be_a_split_or_a_class_is_refused_by_name(images, message):
    with pytest.raises(InputError, match=message):
        find_splits(_tree(*images))


def test_folders_beside_the_splits_are_known():
    tree = _tree("train/a/1", "test/a/1", "extra/2")
    assert ignored_folders(tree, find_splits(tree).values()) == ["extra"]
    tree = _tree("a/1", "b/1")
    assert ignored_folders(tree, find_splits(tree).values()) == []
