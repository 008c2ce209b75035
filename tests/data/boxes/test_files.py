"""Pictures with boxes in files of several formats, good and bad."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_generated_pb2

from jaxmodels.data.boxes import BoxConfig, load_boxes
from jaxmodels.errors import InputError
from tests.data.boxes import files
from tests.marks import slow
from tests.tfds_folder import png, write_dataset


def load(path, **flags):
    return load_boxes(BoxConfig(data=str(path), image_size=files.CANVAS, **flags))


def columns(data, split):
    source = data.source(split)
    return source.examples(np.arange(source.size))


# What coco and voc say of each object besides.
TFDS_MARKS = {
    "id": np.int64,
    "area": np.int64,
    "is_crowd": np.bool_,
    "pose": tfds.features.ClassLabel(names=["frontal", "left"]),
    "is_truncated": np.bool_,
    "is_difficult": np.bool_,
}


def write_tfds(root, splits, marks=None, change=None):
    """A data set as tfds would write it.

    marks: numbers of more features of objects, for each. change: alters the features of the first
      record.
    """
    written = []

    def example(pixels, boxes, labels):
        message = tf_example_generated_pb2.Example()
        feature = message.features.feature
        height, width = pixels.shape[:2]
        feature["image"].bytes_list.value.append(png(pixels))
        for x0, y0, x1, y1 in boxes:
            sides = [y0 / height, x0 / width, y1 / height, x1 / width]
            feature["objects/bbox"].float_list.value.extend(sides)
        feature["objects/label"].int64_list.value.extend(labels)
        for name, numbers in (marks or {}).items():
            feature[f"objects/{name}"].int64_list.value.extend(numbers[: len(boxes)])
        if change and not written:
            change(feature)
        written.append(message)
        return message.SerializeToString()

    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "objects": tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=list(files.NAMES)),
                **{name: TFDS_MARKS[name] for name in marks or {}},
            }
        ),
    }
    records = {split: [example(*some) for some in found] for split, found in splits.items()}
    write_dataset(root, "pets", features, records)
    return root


@pytest.fixture(scope="module")
def reference():
    given = {
        split: dict(zip(("image", "boxes", "labels"), zip(*some)))
        for split, some in files.splits().items()
    }
    return load_boxes(BoxConfig(image_size=files.CANVAS), given)


@pytest.mark.parametrize("format", ["coco", "voc", "yolo", "tfds"])
def test_every_format_has_the_same_columns(format, reference, tmp_path):
    if format == "tfds":
        write_tfds(tmp_path, files.splits())
        config = BoxConfig(data="pets", data_dir=str(tmp_path), image_size=files.CANVAS)
        data = load_boxes(config)
    else:
        root = getattr(files, f"write_{format}")(tmp_path / "set", files.splits())
        data = load(root)
    assert data.class_names == files.NAMES and data.most == 4
    assert data.sizes == {"train": 2, "test": 1} and not data.skipped
    for split in ("train", "test"):
        found, wanted = columns(data, split), columns(reference, split)
        for name, column in wanted.items():
            assert column.dtype == found[name].dtype
            np.testing.assert_allclose(found[name], column, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "marks",
    [
        {"id": [5, 6], "area": [70, 80], "is_crowd": [0, 1]},
        slow({"pose": [1, 0], "is_truncated": [1, 1], "is_difficult": [0, 1]}),
    ],
)
def test_crowds_and_difficult_objects_of_tfds_are_crowds(marks, tmp_path):
    write_tfds(tmp_path, files.splits(), marks)
    config = BoxConfig(data="pets", data_dir=str(tmp_path), image_size=files.CANVAS)
    data = load_boxes(config)
    assert data.class_names == files.NAMES
    assert [some.crowd.tolist() for some in data.truth("train")] == [[False], [False, True]]
    found = columns(data, "train")
    assert found["crowd"].tolist() == [[False] * 4, [False, True, False, False]]
    assert found["labels"][1].tolist() == [*files.splits()["train"][1][2], -1, -1]
    assert data.counts("train") == np.bincount([0, 1], minlength=2).tolist()


def _tfds_label(label):
    def change(feature):
        feature["objects/label"].int64_list.value[0] = label

    return change


def _tfds_box(*numbers):
    def change(feature):
        values = feature["objects/bbox"].float_list.value
        values[:] = [*numbers, *values[4:]]

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_tfds_box(0.5, 0.1, 0.2, 0.9), "is reversed"),
        slow(_tfds_box(0.2, 0.1, 0.2, 0.9), "is empty"),
        slow(_tfds_box(0.2, 1.1, 0.4, 1.9), "lies outside of the picture of 40x20"),
        slow(_tfds_box(0.2, float("nan"), 0.4, 0.9), "is not finite"),
        slow(
            lambda feature: feature["objects/label"].int64_list.value.__setitem__(0, 7), "label 7"
        ),
    ],
)
def test_bad_boxes_of_tfds_are_left_out_alone(change, told, tmp_path):
    write_tfds(tmp_path, files.splits(), change=change)
    flags = {"data": "pets", "data_dir": str(tmp_path), "image_size": files.CANVAS}
    with pytest.raises(InputError, match="1 bad record") as raised:
        load_boxes(BoxConfig(**flags))
    assert told in str(raised.value) and "train[0]: has box 0 (" in str(raised.value)
    data = load_boxes(BoxConfig(**flags, skip_bad_records=1))
    assert data.annotations["train"].counts.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_tfds_box(0.2, 0.1, 0.4), "3 values of 'objects/bbox'"),
        (
            lambda feature: feature["objects/label"].int64_list.value.append(1),
            "has 1 boxes and 2 labels; expected as many",
        ),
        (
            lambda feature: feature["objects/is_crowd"].int64_list.value.append(1),
            "has 1 boxes and 2 is_crowd",
        ),
    ],
)
def test_lists_of_tfds_of_other_lengths_make_their_picture_bad(change, told, tmp_path):
    write_tfds(tmp_path, files.splits(), {"is_crowd": [0, 0]}, change)
    flags = {"data": "pets", "data_dir": str(tmp_path), "image_size": files.CANVAS}
    with pytest.raises(InputError, match="1 bad record") as raised:
        load_boxes(BoxConfig(**flags))
    assert told in str(raised.value)
    assert load_boxes(BoxConfig(**flags, skip_bad_records=1)).sizes == {"train": 1, "test": 1}


def test_a_picture_lies_at_the_top_left_with_its_boxes(reference):
    found = columns(reference, "train")
    [pixels, boxes, labels] = files.splits()["train"][1]
    scale = min(32 / 24, 48 / 32)
    assert found["scale"][1] == np.float32(scale)
    assert found["size"][1].tolist() == list(pixels.shape[:2])
    np.testing.assert_allclose(found["boxes"][1, :2], np.array(boxes) * scale, rtol=1e-6)
    assert found["labels"][1].tolist() == [*labels, -1, -1]
    assert (found["image"][1, :, round(32 * scale) :] == 114).all()
    assert found["image_id"].tolist() == [0, 1]


def test_one_coco_file_alone_is_trained_on(tmp_path):
    some = files.pictures(3)
    for number, (pixels, _, _) in enumerate(some):
        files.png(tmp_path / "images" / f"{number}.png", pixels)
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(files.coco(some, crowd=[1])))
    data = load(path)
    assert data.sizes == {"train": 3}
    wanted = [[False] * 4, [True, False, False, False], [False] * 4]
    assert columns(data, "train")["crowd"].tolist() == wanted
    assert data.key("train", 2) == "images/2.png"


def _coco_with(tmp_path, change):
    some = files.pictures(2)
    for number, (pixels, _, _) in enumerate(some):
        files.png(tmp_path / f"{number}.png", pixels)
    parsed = files.coco(some)
    change(parsed)
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(parsed))
    return path


def _box(sides):
    def change(parsed):
        parsed["annotations"][0]["bbox"] = sides

    return change


def _set(key, row, name, value):
    def change(parsed):
        parsed[key][row][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_box([12, 3, -10, 6]), "reversed"),
        (_box([2, 3, 0, 6]), "empty"),
        (_box([50, 3, 10, 6]), "outside of the picture of 40x20 pixels"),
        (_box([2, 3, 0.5, 6]), "narrower than a pixel"),
        (_box([2, 3, float("inf"), 6]), "not finite"),
        (_box([2, 3, float("nan"), 6]), "expected x, y, width, height"),
        (_box([2, 3, 10]), "expected x, y, width, height"),
        (_box(None), "expected x, y, width, height"),
        (_box([2, 3, "10", 6]), "expected x, y, width, height"),
        (_set("annotations", 0, "category_id", 99), "unknown class '99'"),
        (lambda parsed: parsed["annotations"].append({**parsed["annotations"][0]}), "again"),
    ],
)
def test_bad_boxes_are_told_with_their_picture_and_left_out_alone(change, told, tmp_path, capsys):
    path = _coco_with(tmp_path, change)
    with pytest.raises(InputError) as raised:
        load(path)
    assert told in str(raised.value) and "0.png has " in str(raised.value)
    assert "--skip-bad-records 1" in str(raised.value)
    data = load(path, skip_bad_records=1)
    assert data.sizes == {"train": 2} and len(data.skipped) == 1
    assert data.annotations["train"].counts.tolist() == [int("again" in told), 2]
    assert sum(data.cleaning.values()) == 1 + ("again" not in told)  # a picture without objects
    assert "note: skipped 1 bad record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("images", 0, "file_name", "9.png"), "9.png has no picture file"),
        (_set("images", 0, "file_name", "../0.png"), "has no picture file"),
        (_set("images", 0, "height", 40), "0.png is 40x20 pixels; its boxes are of 40x40 pixels"),
    ],
)
def test_bad_pictures_are_left_out(change, told, tmp_path):
    path = _coco_with(tmp_path, change)
    with pytest.raises(InputError, match="1 bad record") as raised:
        load(path)
    assert told in str(raised.value)
    assert load(path, skip_bad_records=1).sizes == {"train": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("images", 0, "id", 8), "repeats the id"),
        (_set("images", 0, "file_name", None), r"images\[0\] has id"),
        (_set("categories", 0, "name", ""), r"categories\[0\]"),
        (_set("categories", 0, "id", 20), "category 20 is both"),
        (lambda parsed: parsed["images"].insert(0, 3), r"images\[0\] is '3'"),
        (lambda parsed: parsed["images"].clear(), "lists no images"),
        (lambda parsed: parsed["categories"].clear(), "no categories"),
        (lambda parsed: parsed.pop("images"), "no COCO file"),
        (lambda parsed: parsed["annotations"].clear(), "no good box"),
    ],
)
def test_a_broken_coco_file_is_refused(change, told, tmp_path):
    with pytest.raises(InputError, match=told):
        load(_coco_with(tmp_path, change))


def test_boxes_over_the_edge_are_cut_and_counted(tmp_path):
    data = load(_coco_with(tmp_path, _box([-5, 3, 10, 100])))
    assert not data.skipped and data.cleaning == {"cut at the edge": 1}
    assert data.truth("train")[0].boxes.tolist() == [[0, 3, 5, 20]]


def test_annotations_of_images_that_are_not_listed_are_noted(tmp_path, capsys):
    data = load(_coco_with(tmp_path, _set("annotations", 0, "image_id", 100)))
    assert "1 annotations of images that it does not list" in capsys.readouterr().err
    assert data.cleaning == {"pictures without objects": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<annotation><object>", "cannot be read"),
        ("<boxes/>", "expected <annotation>"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_broken_xml_file_makes_its_picture_bad(text, told, tmp_path):
    root = files.write_voc(tmp_path / "set", files.splits(3))
    path = root / "Annotations" / "train_0.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told):
        load(root)
    assert load(root, skip_bad_records=1).sizes == {"train": 2, "test": 1}


def test_xml_beside_pictures_difficult_objects_and_unknown_classes(tmp_path, capsys):
    some = files.pictures(2)
    for split in ("train", "val"):
        for number, (pixels, boxes, labels) in enumerate(some):
            pixels = pixels if split == "train" else 255 - pixels
            files.png(tmp_path / "set" / split / f"{number}.png", pixels)
            text = files.voc(pixels, boxes, labels)
            if number:
                text = text.replace("<difficult>0", "<difficult>1", 1)
            if split == "val":
                text = text.replace("cat", "lynx", 1)
            (tmp_path / "set" / split / f"{number}.xml").write_text(text)
    files.png(tmp_path / "set" / "train" / "without.png", some[0][0])
    data = load(tmp_path / "set", skip_bad_records=2)
    assert "1 pictures without a file .xml" in capsys.readouterr().err
    assert data.sizes == {"train": 2, "validation": 2}
    assert [row.kind for row in data.skipped] == ["label", "label"]
    assert "unknown class 'lynx'" in data.skipped[0].reason
    assert data.truth("train")[1].crowd.tolist() == [True, False]


@pytest.mark.parametrize(
    ("part", "other", "told"),
    [
        ("<xmax>12</xmax>", "", "object 0 (%s) without four corners or a name"),
        ("<xmax>12</xmax>", "<xmax>wide</xmax>", "object 0 (%s) without four corners or a name"),
        ("<name>%s</name>", "<name> </name>", "object 0 (without a name) without four corners"),
    ],
)
def test_objects_of_voc_without_corners_or_a_name_are_left_out_alone(part, other, told, tmp_path):
    root = files.write_voc(tmp_path / "set", files.splits(3))
    path = root / "Annotations" / "train_0.xml"
    name = files.NAMES[files.splits(3)["train"][0][2][0]]
    part, told = part.replace("%s", name), told.replace("%s", name)
    text = path.read_text()
    assert part in text
    path.write_text(text.replace(part, other, 1))
    with pytest.raises(InputError, match="1 bad record") as raised:
        load(root)
    assert told in str(raised.value) and "train_0.png has " in str(raised.value)
    data = load(root, skip_bad_records=1)
    assert data.sizes == {"train": 3, "test": 1}
    assert data.annotations["train"].counts.tolist() == [0, 2, 1]


def test_a_second_file_of_boxes_of_one_picture_is_bad(tmp_path):
    [(pixels, boxes, labels), *others] = files.pictures(3)
    root = tmp_path / "set"
    for number, some in enumerate([(pixels, boxes, labels), *others]):
        files.png(root / f"{number}.png", some[0])
        (root / f"{number}.xml").write_text(files.voc(*some, name=f"{number}.png"))
    (root / "copy.xml").write_text(files.voc(pixels, boxes, labels, name="0.png"))
    with pytest.raises(InputError, match="1 bad record") as raised:
        load(root)
    assert "is a second file of boxes of 0.png" in str(raised.value)
    assert ".xml" in str(raised.value)
    assert load(root, skip_bad_records=1).sizes == {"train": 3}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 0.5 0.5 0.5", "not class x y width height"),
        ("0 0.5 0.5 0.5 wide", "not class x y width height"),
        ("0.5 0.5 0.5 0.5 0.5", "not class x y width height"),
        ("0 0.5 0.5 0.5 0.5 0.9", "not class x y width height"),
        ("7 0.5 0.5 0.5 0.5", "unknown label 7"),
        ("-1 0.5 0.5 0.5 0.5", "unknown label -1"),
        ("0 0.5 0.5 -0.5 0.5", "reversed"),
        ("0 1.5 0.5 0.5 0.5", "outside"),
        ("0 nan 0.5 0.5 0.5", "not finite"),
    ],
)
def test_bad_lines_of_yolo(line, told, tmp_path):
    root = files.write_yolo(tmp_path / "set", files.splits())
    path = root / "train" / "labels" / "0.txt"
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(InputError, match="1 bad record") as raised:
        load(root)
    assert told in str(raised.value) and "train/images/0.png has " in str(raised.value)
    assert load(root, skip_bad_records=1).annotations["train"].counts.tolist() == [1, 2]


def test_yolo_polygons_pictures_without_files_and_other_layouts(tmp_path, capsys):
    some = files.pictures(3)
    for number, (pixels, _, _) in enumerate(some):
        split = "train" if number < 2 else "val"
        files.png(tmp_path / "set" / "images" / split / f"{number}.png", pixels)
    (tmp_path / "set" / "labels" / "train").mkdir(parents=True)
    polygon = "1 0.1 0.2 0.5 0.1 0.3 0.75\n"
    (tmp_path / "set" / "labels" / "train" / "0.txt").write_text(polygon)
    data = load(tmp_path / "set")
    assert data.sizes == {"train": 2, "validation": 1} and data.class_names == ("0", "1")
    np.testing.assert_allclose(data.truth("train")[0].boxes, [[4, 2, 20, 15]])
    assert data.cleaning == {"pictures without objects": 2}
    listed = ["images/train/1.png", "images/val/2.png"]
    told = capsys.readouterr().err
    assert f"pictures without objects (2): {', '.join(listed)}. The whole list: " in told
    path = Path(told.rpartition("The whole list: ")[2].strip())
    assert path.read_text().splitlines() == listed


def test_what_is_no_set_of_boxes_is_refused(tmp_path):
    files.png(tmp_path / "set" / "0.png", files.pictures(1)[0][0])
    with pytest.raises(InputError, match="pictures and no boxes; expected a COCO file"):
        load(tmp_path / "set")
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "none")
    (tmp_path / "set" / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"a file ending in \.csv: tables are read by"):
        load(tmp_path / "set" / "table.csv")
    (tmp_path / "set" / "boxes.json").write_text("{")
    with pytest.raises(InputError, match=r"boxes\.json cannot be read as JSON"):
        load(tmp_path / "set")


def test_copies_in_other_processes_have_the_pictures_alone(tmp_path):
    data = load(files.write_yolo(tmp_path / "set", files.splits()))
    records = data.records["train"].records
    copied = pickle.loads(pickle.dumps(records))
    assert copied.read([1]) == [{"image": records.read([1])[0]["image"]}]
    assert "boxes" in records.read([1])[0]
