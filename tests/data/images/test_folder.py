"""Folders of image files as data."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmodels.data.images import load_images, normalization_of
from jaxmodels.errors import InputError


def _write(folder: Path, files: dict[str, np.ndarray | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path, **({"lossless": True} if "webp" in name else {}))
    return folder


def _images(count, shape=(6, 5, 3), seed=0):
    return list(np.random.default_rng(seed).integers(0, 255, (count, *shape)).astype(np.uint8))


def _assert_columns(columns, images, labels):
    np.testing.assert_array_equal(columns["image"], images)
    if labels is None:
        assert "label" not in columns
    else:
        np.testing.assert_array_equal(columns["label"], labels)


def _keys(records):
    return {records.key(row) for row in range(len(records))}


@pytest.mark.parametrize("validation", ["validation", "val", None])
def test_splits_with_folders_of_classes(tmp_path, validation):
    a, b, c, d, e = _images(5)
    files = {
        "train/dog/1.png": a,
        "train/cat/z.PNG": b,
        "train/cat/b/y.bmp": c,
        "test/dog/1.webp": d,
    }
    if validation:
        files[f"{validation}/cat/x.png"] = e
    files |= {
        "train/cat/notes.txt": b"",
        "train/cat/._z.png": b"",
        "README.md": b"",
        ".x/a.png": b"",
    }
    data = load_images(str(_write(tmp_path / "my pets", files)))
    assert (data.name, data.class_names) == ("my_pets", ("cat", "dog"))
    _assert_columns(data.splits["train"], [c, b, a], [0, 0, 1])
    _assert_columns(data.splits["test"], [d], [1])
    assert set(data.splits) == {"train", "test"} | ({"validation"} if validation else set())
    if validation:
        _assert_columns(data.splits["validation"], [e], [0])
    assert data.normalization() == normalization_of(data.splits["train"]["image"])
    assert data.records["train"].key(0) == "train/cat/b/y.bmp"
    assert pickle.loads(pickle.dumps(data.records["train"])).read([2]) == [
        {"image": (tmp_path / "my pets/train/dog/1.png").read_bytes(), "label": 1}
    ]


def test_folders_of_classes_alone_are_a_training_split(tmp_path, monkeypatch):
    images = _images(60, (4, 4))
    files = {f"{'ab'[row % 2]}/{row:02}.png": image for row, image in enumerate(images)}
    _write(tmp_path / "letters", files)
    monkeypatch.chdir(tmp_path)
    data = load_images("./letters")
    assert list(data.splits) == ["train"]
    _assert_columns(
        data.splits["train"],
        [image[..., None] for image in images[::2] + images[1::2]],
        [0] * 30 + [1] * 30,
    )
    carved = load_images("./letters", validation_fraction=0.3)
    assert list(carved.splits) == ["train", "validation"]
    assert sum(carved.sizes.values()) == 60
    # By its path, wherever it stands among the others.
    before = _keys(carved.records["validation"])
    (tmp_path / "letters/a/00.png").unlink()
    later = load_images("./letters", validation_fraction=0.3).records["validation"]
    assert _keys(later) == before - {"a/00.png"}


def test_images_without_classes(tmp_path):
    a, b, c = _images(3)
    flat = load_images(str(_write(tmp_path / "flat", {"2.png": b, "1.png": a})))
    assert flat.class_names == () and flat.labels("train") is None
    _assert_columns(flat.splits["train"], [a, b], None)
    files = {"train/2.png": b, "train/1.png": a, "test/1.png": c}
    split = load_images(str(_write(tmp_path / "split", files)))
    _assert_columns(split.splits["train"], [a, b], None)
    _assert_columns(split.splits["test"], [c], None)


def test_another_content_is_another_fingerprint(tmp_path):
    folder = _write(tmp_path / "same", {"1.png": _images(1)[0]})
    before = load_images(str(folder)).fingerprint
    assert load_images(f"{folder}/").fingerprint == before
    os.utime(folder / "1.png", ns=(1, 1))
    assert load_images(str(folder)).fingerprint == before
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert load_images(str(copy)).fingerprint == before
    (folder / "1.png").rename(folder / "2.png")
    renamed = load_images(str(folder)).fingerprint
    _write(folder, {"2.png": _images(1, seed=1)[0]})
    assert len({before, renamed, load_images(str(folder)).fingerprint}) == 3


def test_bad_files_are_named(tmp_path):
    good = _images(6)
    files = {f"train/a/{row}.png": image for row, image in enumerate(good)}
    files |= {
        "train/a/6.png": b"no picture",
        "train/a/7.png": np.zeros((6, 5, 4), np.uint8),
        "train/a/8.png": _images(1, (5, 6, 3))[0],
        "train/a/9.png": good[2] + 1,
        "test/a/0.png": good[2] + 1,
    }
    folder = _write(tmp_path / "mixed", files)
    (folder / "train/a/gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(InputError) as raised:
        load_images(str(folder))
    for said in (
        "5 bad records",
        "train[6]: train/a/6.png cannot be decoded as an image",
        "train[7]: train/a/7.png has transparent pixels; expected 3 opaque channels",
        "train[8]: train/a/8.png is 5x6 pixels; expected 6x5",
        "train[9]: train/a/9.png has the same pixels as test/a/0.png",
        "train[10]: train/a/gone.png cannot be read: No such file",
    ):
        assert said in str(raised.value)
    data = load_images(str(folder), skip_bad_records=5)
    _assert_columns(data.splits["train"], good, [0] * 6)


def test_a_few_grey_files_among_coloured_ones_are_coloured_too(tmp_path):
    grey, *coloured = _images(1, (6, 5))[0], *_images(4)
    files = {"0.png": grey} | {f"{row + 1}.png": image for row, image in enumerate(coloured)}
    data = load_images(str(_write(tmp_path / "mostly", files)))
    expected = [np.repeat(grey[..., None], 3, 2), *coloured]
    np.testing.assert_array_equal(data.splits["train"]["image"], expected)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/a/1", "test/b/1"], "class 'b' in test, which train lacks; expected a$"),
        (["train/a/1", "test/1"], "images without a class in test, which train lacks; expected a$"),
        (["train/1", "test/a/1"], "class 'a' in test, which train lacks; expected images without"),
        (["train/a/1", "train/2"], "in train has images beside folders .* say train/2.png"),
        (["test/a/1"], "no training split; expected a folder train. Found: test"),
        (["train/a/1", "val/a/1", "validation/a/1"], "folders validation and val"),
        ([], "has no images; expected .png"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path, files, message):
    images = _images(len(files))
    folder = tmp_path / "odd"
    folder.mkdir()
    _write(folder, {f"{name}.png": image for name, image in zip(files, images)})
    with pytest.raises(InputError, match=message):
        load_images(str(folder))


@pytest.mark.parametrize("ending", ["jfif", "tif", "tiff", "gif", "webp", "bmp", "avif", "ppm"])
def test_what_opencv_decodes_is_read(tmp_path, ending):
    a, b, c, d = _images(4, (8, 8, 3))
    ways = {"avif": {"quality": 100}, "webp": {"lossless": True}}
    for name, image in {"owl/1": c, "owl/2": d}.items():
        path = tmp_path / "x" / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {"jfif": "JPEG", "tif": "TIFF"}
        Image.fromarray(image).save(path, kinds.get(ending), **ways.get(ending, {}))
    _write(tmp_path / "x", {"cat/1.png": a, "cat/2.PNG": b})
    data = load_images(str(tmp_path / "x"))
    assert (data.class_names, data.sizes) == (("cat", "owl"), {"train": 4})
    found = data.splits["train"]["image"][2:]
    stored = []
    for name in ("1", "2"):
        with Image.open(tmp_path / "x" / "owl" / f"{name}.{ending}") as picture:
            stored.append(np.asarray(picture.convert("RGB")))
    loss = 40 if ending in ("jfif", "avif") else 0  # decoders of lossy formats round differently
    np.testing.assert_allclose(found.astype(int), np.stack(stored).astype(int), atol=loss)


def test_an_animation_is_its_first_picture(tmp_path):
    first, second = (Image.fromarray(np.full((6, 5), level, np.uint8)) for level in (40, 200))
    _write(tmp_path / "x", {"0.png": np.zeros((6, 5, 3), np.uint8)})
    first.save(tmp_path / "x" / "1.gif", save_all=True, append_images=[second])
    assert load_images(str(tmp_path / "x")).splits["train"]["image"][1].max() == 40


def test_floats_in_a_tiff_are_read_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 6, 5)).astype(np.float32)
    (tmp_path / "x").mkdir()
    for row, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / "x" / f"{row}.tif")
    np.testing.assert_array_equal(
        load_images(str(tmp_path / "x")).splits["train"]["image"], values[..., None]
    )


def test_what_is_not_read_is_counted_and_named(tmp_path, capsys):
    a, b = _images(2)
    files = {"train/cat/1.png": a, "train/dog/1.png": b, "LICENSE.md": b"", "extra/1.png": a}
    files |= {"train/cat/2.heic": b"x", "train/dog/2.heic": b"x", "train/dog/1.xml": b"x"}
    folder = _write(tmp_path / "x", files)
    (folder / "train" / "owl").mkdir()
    os.mkfifo(folder / "train" / "cat" / "99.png")
    os.symlink(".", folder / "train" / "dog" / "again")
    assert load_images(str(folder)).sizes == {"train": 2}
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert [line.partition(f"note: data '{folder}': ")[2].split(" (read")[0] for line in notes] == [
        "not read: 2 files ending in .heic, 1 in .xml",
        "class train/owl has no picture and is none",
        "folder extra is none of a split and is not read",
        "skipped train/cat/99.png (a FIFO)",
        "skipped train/dog/again (a link to a folder above it)",
    ]
    _write(folder, {"train/owl/1.heic": b"x"})
    with pytest.raises(InputError, match=r"in .heic.*: class owl has no picture.*mogrify"):
        load_images(str(folder))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.wav", "a/2.WAV", "b/3.flac"], r"It has 2 files ending in .wav, 1 in .flac: .*sound"),
        (["1.txt"], r"It has 1 file ending in .txt: .*text"),
        (
            ["a/1.heic"],
            r"It has 1 file ending in .heic: phones write HEIC; .*: mogrify -format jpg \*.heic$",
        ),
        (["a/1"], r"It has 1 file without an ending$"),
    ],
)
def test_data_of_another_kind_say_which(tmp_path, names, message):
    folder = _write(tmp_path / "x", dict.fromkeys(names, b"x"))
    with pytest.raises(InputError, match=rf"has no images; expected .png.*{message}"):
        load_images(str(folder))


def test_twins_of_equal_names_sizes_and_times_are_other_data(tmp_path):
    for number, level in enumerate((10, 200)):
        picture = np.full((4, 4), level, np.uint8)
        folder = _write(tmp_path / str(number) / "twin", {"1.bmp": picture})
        os.utime(folder / "1.bmp", ns=(0, 0))
        data = load_images(str(folder))
        assert data.normalization().mean == (level,)
        assert data.splits["train"]["image"].max() == level
        assert data.facts().older["fingerprint"] == _older({"1.bmp": folder / "1.bmp"})
    replaced = _write(tmp_path / "2", {"1.bmp": np.full((4, 4), 90, np.uint8)}) / "1.bmp"
    os.utime(replaced, ns=(0, 0))
    os.replace(replaced, folder / "1.bmp")
    assert load_images(str(folder)).normalization().mean == (90,)


def _older(files):
    """The fingerprint of folders in runs from before content was hashed."""
    facts = [(n, (p.stat().st_size, p.stat().st_mtime_ns)) for n, p in sorted(files.items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def test_findings_and_pixels_that_are_damaged_are_made_anew(tmp_path, capsys):
    a, b = _images(2)
    folder = str(_write(tmp_path / "x", {"cat/1.png": a, "dog/1.png": b}))
    data = load_images(folder)
    expected = np.array(data.splits["train"]["image"])
    for name in ("train/image.npy", "train/label.npy", "records/findings.json"):
        path = data.folder / name
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    again = load_images(folder)
    np.testing.assert_array_equal(again.splits["train"]["image"], expected)
    np.testing.assert_array_equal(again.splits["train"]["label"], [0, 1])
    assert again.pixels == data.pixels
    said = capsys.readouterr().err
    assert said.count("is made anew") == 2 and "findings.json differs" in said


def test_a_file_name_that_is_no_text_can_be_carved(tmp_path):
    names = [b"%s/%d.png" % (name, row) for name in (b"caf\xe9", b"b") for row in range(20)]
    _write(tmp_path / "x", {os.fsdecode(n): image for n, image in zip(names, _images(40))})
    data = load_images(str(tmp_path / "x"), validation_fraction=0.5)
    assert sum(data.sizes.values()) == 40 and len(data.class_names) == 2


def test_a_name_alone_is_of_tfds_and_a_path_must_exist(tmp_path, monkeypatch):
    _write(tmp_path / "mnist", {"1.png": _images(1)[0]})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="tfds build mnist"):
        load_images("mnist", tmp_path / "nothing")
    with pytest.raises(InputError, match=r"For the folder of that name: --data ./mnist$"):
        load_images("mnist", tmp_path / "nothing")
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"unknown data 'photos'.*--data ./photos$"):
        load_images("photos", tmp_path / "nothing")
    with pytest.raises(InputError, match=r"There is no folder photos/gone either"):
        load_images("photos/gone", tmp_path / "nothing")
    assert load_images("./mnist").sizes == {"train": 1}
    with pytest.raises(InputError, match=r"'\./missing' is no folder; expected"):
        load_images("./missing")
    with pytest.raises(InputError, match=r"'\./phots' is no folder \(did you mean 'photos'\?\)"):
        load_images("./phots")
    with pytest.raises(InputError, match=r"'\./mnist/1.png' is one picture; .*: mnist has it"):
        load_images("./mnist/1.png")
