"""Folders of sounds: classes, splits, lists, and what is no such folder."""

import pytest

from jaxmodels.data.audio.folder import open_sound_folder
from jaxmodels.errors import InputError
from tests.data.audio.recordings import tone, write, write_classes


def keys(dataset):
    return {split: [r.key(row) for row in range(len(r))] for split, r in dataset.splits.items()}


def test_classes_and_splits_are_folders(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / split, 2)
    dataset = open_sound_folder(tmp_path)
    assert dataset.names["label"] == ("high", "low")
    assert keys(dataset)["test"] == [
        "test/high/0.wav", "test/high/1.wav", "test/low/0.wav", "test/low/1.wav",
    ]  # fmt: skip
    records = dataset.splits["test"].read([1, 2])
    assert [record["label"] for record in records] == [0, 1]
    assert records[0]["sound"][:4] == b"RIFF" and records[0]["file"] == b"test/high/1.wav"


def test_the_fingerprint_is_of_the_content(tmp_path):
    write_classes(tmp_path / "a", 2), write_classes(tmp_path / "b/a", 2)
    first, second = (open_sound_folder(tmp_path / name) for name in ("a", "b/a"))
    assert first.fingerprint == second.fingerprint
    write(tmp_path / "a/low/1.wav", tone(310))
    assert open_sound_folder(tmp_path / "a").fingerprint != first.fingerprint


def test_lists_beside_classes_name_the_splits_and_noise_is_no_class(tmp_path, capsys):
    write_classes(tmp_path, 3)
    write(tmp_path / "_background_noise_/hum.wav", tone(50, seconds=1))
    (tmp_path / "validation_list.txt").write_text("low/0.wav\nnone/1.wav\n")
    (tmp_path / "testing_list.txt").write_text("low/1.wav\nhigh/1.wav\n")
    found = keys(open_sound_folder(tmp_path))
    assert found["validation"] == ["low/0.wav"] and found["test"] == ["low/1.wav", "high/1.wav"]
    assert found["train"] == ["high/0.wav", "high/2.wav", "low/2.wav"]
    assert "_background_noise_ is no class" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["notes.txt"], "has no sounds; .*It has 1 file ending in .txt"),
        (["a/x.png", "a/y.png", "a/z.txt"], "images are read by .*classifier"),
        (["a/x.aiff"], "ffmpeg converts them"),
        (["x.wav"], "has x.wav in no folder of a class; expected CLASS/x.wav"),
        (["train/a/x.wav", "test/b/x.wav"], "has class 'b' in test, which train lacks"),
        (["test/a/x.wav"], "has no training split"),
    ],
)
def test_other_folders_are_refused(tmp_path, files, reason):
    for name in files:
        write(tmp_path / name, tone(300))
    with pytest.raises(InputError, match=reason):
        open_sound_folder(tmp_path)
