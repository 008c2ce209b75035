"""Records of tensorflow-datasets in random access."""

import json
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tensorflow_datasets import features as tfds_features

from jaxmodels.data import BadRecord
from jaxmodels.data.images import load_images
from jaxmodels.data.images.stored import open_tfds_images
from jaxmodels.data.tfds import TfdsRecords, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError
from tests.tfds_folder import example, png, serialized, write_dataset, write_image_dataset


@pytest.fixture
def images():
    return list(np.random.default_rng(0).integers(0, 255, (30, 6, 5, 3)).astype(np.uint8))


def test_records_are_what_was_written_in_any_order(tmp_path, images):
    labels = [row % 3 for row in range(30)]
    write_image_dataset(tmp_path, "written", {"train": images}, {"train": labels})
    stored = open_tfds_images("written", tmp_path)
    assert stored.facts == {"image": ((6, 5), 3, np.uint8)}
    assert stored.names == {"label": ("kind0", "kind1", "kind2")}
    encoded = stored.splits["train"]
    assert len(encoded) == 30
    rows = [29, 0, 7, 7]
    expected = [{"image": png(images[row]), "label": labels[row]} for row in rows]
    assert encoded.read(rows) == expected
    assert encoded.read([]) == []
    assert [encoded.key(row) for row in (0, 29)] == ["train/0", "train/29"]


def test_images_without_labels_have_none(tmp_path, images):
    write_image_dataset(tmp_path, "unlabelled", {"train": images})
    encoded = open_tfds_images("unlabelled", tmp_path).splits["train"]
    assert encoded.read([3]) == [{"image": png(images[3])}]


def _read_there(pickled: bytes) -> list:
    return pickle.loads(pickled).read([4, 2])


def test_another_process_and_many_threads_read_the_same(tmp_path, images):
    write_image_dataset(tmp_path, "shared", {"train": images}, {"train": [1] * 30})
    clean = load_images("shared", tmp_path).records["train"]
    expected = clean.read([4, 2])
    pickled = pickle.dumps(clean)
    assert len(pickled) < 5000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_there, (pickled,)) == expected
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: clean.read(list(range(30))), range(50)):
            assert found == clean.read(list(range(30)))


def test_clean_images_count_only_the_good(tmp_path, images):
    images[3] = example(b"nothing", 0)
    write_image_dataset(tmp_path, "holes", {"train": images}, {"train": [0] * 30}, shape=(6, 5, 3))
    data = load_images("holes", tmp_path, skip_bad_records=1)
    clean = data.records["train"]
    assert len(clean) == 29
    for index, row in ((2, 2), (3, 4), (28, 29)):
        [record] = clean.read([index])
        np.testing.assert_array_equal(data.decoder()(record)["image"], images[row])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"\xff\xff\xff", "no tf.train.Example"),
        (b"", "0 values of 'image'"),
        (example(None, 1), "0 values of 'image'"),
        (example(b"picture", None), "0 values of 'label'"),
    ],
)
def test_a_record_that_cannot_be_parsed_says_why(tmp_path, images, record, reason):
    splits = {"train": [*images[:3], record]}
    write_image_dataset(tmp_path, "odd", splits, {"train": [0] * 4})
    encoded = open_tfds_images("odd", tmp_path).splits["train"]
    with pytest.raises(BadRecord, match=reason):
        encoded.read([0, 3])


def test_a_damaged_file_says_so(tmp_path, images):
    folder = write_image_dataset(tmp_path, "damaged", {"train": images})
    path = next(folder.glob("*array_record-*"))
    content = bytearray(path.read_bytes())
    at = content.find(png(images[5])[40:60])
    assert at > 0
    content[at] ^= 0xFF
    path.write_bytes(content)
    encoded = open_tfds_images("damaged", tmp_path).splits["train"]
    assert encoded.read([4]) == [{"image": png(images[4])}]
    with pytest.raises(BadRecord, match=r"cannot be read: .*hash mismatch"):
        encoded.read([5])


def _shards(folder):
    return {path.name.split("-")[1].split(".")[0]: path for path in folder.glob("*array_record-*")}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "zeros", "fewer", "a FIFO"])
def test_a_shard_that_is_missing_or_cut_is_named_before_anything_is_read(
    tmp_path, images, split, damage, monkeypatch
):
    folder = write_image_dataset(tmp_path, "cut", {"train": images[:20], "test": images[20:]})
    other = write_image_dataset(tmp_path, "other", {"train": images[:3], "test": images[:3]})
    path, fewer = _shards(folder)[split], _shards(other)[split].read_bytes()
    content = path.read_bytes()
    path.unlink()
    if damage == "a FIFO":
        os.mkfifo(path)
    elif damage != "gone":
        kinds = {"cut": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content))}
        path.write_bytes((kinds | {"fewer": fewer})[damage])
    monkeypatch.setattr(TfdsRecords, "read", None)
    expected = {"train": 20, "test": 10}[split]
    with pytest.raises(
        InputError, match=rf"{path.name} of split {split} .*expected {expected} rec"
    ):
        load_images("cut", tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"splits": 3}'])
def test_a_damaged_description_is_one_line(tmp_path, images, name, content):
    folder = write_image_dataset(tmp_path, "described", {"train": images})
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        load_images("described", tmp_path)
    assert "'described'" in str(raised.value) and "\n" not in str(raised.value)


def test_the_fingerprint_is_of_the_content_of_the_shards(tmp_path, images):
    found = set()
    for name, some in {"a": images, "b": images, "c": [*images[:-1], images[-1] ^ 1]}.items():
        folder = write_image_dataset(tmp_path / name, "same", {"train": some}, {"train": [0] * 30})
        found.add(open_tfds_images("same", tmp_path / name).fingerprint)
    assert len(found) == 2
    (folder / "label.labels.txt").write_text("x\ny\nz\n")
    found.add(open_tfds_images("same", tmp_path / "c").fingerprint)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        ({"audio": tfds_features.Tensor(shape=(None,), dtype=np.int16)}, ""),
        ({"text": tfds_features.Text()}, "It holds text: .*text"),
    ],
)
def test_data_of_another_kind_say_which(tmp_path, features, kind):
    write_dataset(tmp_path, "words", features, {"train": [serialized({"text": [b"a"]})]})
    with pytest.raises(InputError, match=rf"'words' has .*expected one.*{kind}"):
        load_images("words", tmp_path)


def test_sound_which_tfds_reads_only_with_tensorflow_is_named(tmp_path):
    words = {"text": tfds_features.Text()}
    folder = write_dataset(tmp_path, "sounds", words, {"train": [serialized({"text": [b"a"]})]})
    path, package = folder / "features.json", "tensorflow_datasets.core.features"
    sound = {"audio": {"shape": {"dimensions": ["-1"]}, "dtype": "int16", "encoding": "NONE"}}
    described = json.loads(path.read_text())
    described["featuresDict"]["features"]["audio"] = {
        "pythonClassName": f"{package}.audio_feature.Audio",
        **sound,
    }
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"holds sound; expected one image .*\. Sound is read by"):
        load_images("sounds", tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("mnsit", "image", "unknown data 'mnsit'; did you mean 'mnist'"),
        ("mnsit", "sound", "unknown data 'mnsit'. Known"),
        ("libri_speech", "image", "unknown data 'libri_speech'. Known"),
        ("libri_speech", "sound", "did you mean 'librispeech'"),
        ("imbd_reviews", "image", "unknown data 'imbd_reviews'. Known"),
        ("glue", "image", "data 'glue' holds text; expected what one wants. Text is read by"),
        ("librispeech", "image", "data 'librispeech' holds sound; expected"),
        ("coco", "detection", "data 'coco' is not prepared in"),
        ("iris", "image", "data 'iris' holds tables; expected"),
    ],
)
def test_names_are_answered_with_data_of_the_right_kind(tmp_path, name, kind, message):
    with pytest.raises(InputError) as raised:
        prepared_builder(name, tmp_path, kind, "what one wants", embedded=("digits",))
    assert message in str(raised.value)


FEATURES = {
    "text": tfds_features.Text(),
    "tag": tfds_features.ClassLabel(names=["dull", "fine"]),
    "weights": tfds_features.Tensor(shape=(2, 2), dtype=np.float32),
    "tokens": tfds_features.Sequence(np.int32),
    "words": tfds_features.Sequence(tfds_features.Text()),
    "score": tfds_features.Scalar(dtype=np.float32),
    "things": tfds_features.Sequence(
        {
            "box": tfds_features.BBoxFeature(),
            "kind": tfds_features.ClassLabel(names=["cat", "dog", "owl"]),
        }
    ),
    "ragged": tfds_features.Sequence(tfds_features.Sequence(np.int64)),
}


def _thing_record(row, tokens):
    return serialized(
        {
            "text": [f"text {row}".encode()],
            "tag": [row % 2],
            "weights": [float(row), 1.5, 2.5, 3.5],
            "tokens": list(range(tokens)),
            "words": [b"a", b"bc"],
            "score": [row / 2],
            "things/box": [0.0, 0.25, 0.5, 1.0] * tokens,
            "things/kind": [2] * tokens,
        }
    )


@pytest.fixture
def things(tmp_path):
    """A data set of text, numbers and boxes, with splits of all names."""
    splits = {split: [_thing_record(row, row + 1) for row in range(4)] for split in ("train", "x")}
    write_dataset(tmp_path, "things", FEATURES, splits | {"test": [_thing_record(9, 2)[:-9]]})
    return prepared_builder("things", tmp_path, "text", "one text")


def test_any_features_are_read_by_the_names_of_their_columns(things):
    columns = {name: name for name in ("tag", "weights", "tokens", "words", "score")}
    columns |= {"prompt": "text", "box": "things/box", "kind": "things/kind"}
    stored = tfds_dataset("things", things, columns, splits=("train", "validation", "x"))
    assert list(stored.splits) == ["train", "x"]
    assert stored.names == {"tag": ("dull", "fine"), "kind": ("cat", "dog", "owl")}
    (record,) = stored.splits["x"].read([2])
    assert record.keys() == columns.keys()
    assert (record["prompt"], record["tag"], record["score"]) == (b"text 2", 0, 1.0)
    assert record["words"].tolist() == [b"a", b"bc"]
    for name, expected in {
        "weights": np.array([[2, 1.5], [2.5, 3.5]], np.float32),
        "tokens": np.arange(3, dtype=np.int32),
        "box": np.array([[0, 0.25, 0.5, 1]] * 3, np.float32),
        "kind": np.array([2] * 3),
    }.items():
        np.testing.assert_array_equal(record[name], expected)
        assert record[name].dtype == expected.dtype
    assert pickle.loads(pickle.dumps(stored.splits["x"])).read([2])[0]["prompt"] == b"text 2"


def test_values_that_do_not_fit_are_bad_records(things, tmp_path):
    stored = tfds_dataset("things", things, {"text": "text"}, splits=("train", "test"))
    with pytest.raises(BadRecord, match=r"is no tf.train.Example"):
        stored.splits["test"].read([0])
    records = [serialized({"weights": [1.0, 2.0, 3.0]})]
    write_dataset(tmp_path, "odd", {"weights": FEATURES["weights"]}, {"train": records})
    odd = tfds_dataset("odd", prepared_builder("odd", tmp_path, "", ""), {"w": "weights"})
    with pytest.raises(BadRecord, match=r"has 3 values of 'weights'; expected shape \(2, 2\)"):
        odd.splits["train"].read([0])


def test_features_that_cannot_be_read_are_named(things):
    with pytest.raises(InputError, match=r"unknown feature 'txt'; did you mean 'text'.*things/box"):
        tfds_dataset("things", things, {"text": "txt"})
    with pytest.raises(InputError, match=r"'ragged' has shape .* at most one dimension"):
        tfds_dataset("things", things, {"x": "ragged"})


def test_data_without_an_image_says_what_it_has(things, tmp_path):
    with pytest.raises(InputError, match="'things' has 0 image features; expected one") as raised:
        load_images("things", tmp_path)
    for said in ("text (Text)", "tag (ClassLabel)", "things (Sequence)"):
        assert said in str(raised.value)
