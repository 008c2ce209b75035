"""What a prediction is asked for: pictures by a path, whatever else lies there."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxmodels.data.images import images_from_arrays, read_pictures
from jaxmodels.errors import InputError


@pytest.fixture
def data():
    return images_from_arrays({"train": {"image": np.full((2, 6, 5, 3), 255, np.uint8)}})


def test_pictures_of_a_folder_in_order_with_their_errors(tmp_path, data, capsys):
    picture = Image.new("RGB", (5, 6), (1, 2, 3))
    for name in ("b/2.png", "a.gif", "b/1.tif", "b0.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(".", tmp_path / "b" / "again")
    os.symlink("nowhere", tmp_path / "gone.png")
    found = dict(read_pictures(tmp_path, data))
    assert list(found) == ["a.gif", "b/1.tif", "b/2.png", "b0.PNG", "c.png", "gone.png"]
    assert found["b/2.png"]["image"].shape == (6, 5, 3)
    assert "cannot be decoded" in str(found["c.png"])
    assert "No such file" in str(found["gone.png"])
    said = capsys.readouterr().err
    assert "skipped pipe.png (a FIFO)" in said and "skipped b/again (a link" in said


def test_pictures_of_other_sizes_and_colours_become_as_the_runs(tmp_path, data, capsys):
    Image.new("RGB", (10, 12), (200, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 12), (200, 0, 0)).save(tmp_path / "b.png")
    Image.new("L", (5, 6), 9).save(tmp_path / "c.png")
    Image.new("RGBA", (5, 6), (1, 2, 3, 0)).save(tmp_path / "d.png")
    found = dict(read_pictures(tmp_path, data))
    for name in "ab":
        assert (found[f"{name}.png"]["image"] == np.uint8([200, 0, 0])).all()
        assert found[f"{name}.png"]["image"].shape == (6, 5, 3)
    assert (found["c.png"]["image"] == 9).all()
    said = capsys.readouterr().err
    assert said.count("note") == 1 and "like a.png are resized to 6x5 pixels, as the run's" in said
    grey = images_from_arrays({"train": {"image": np.full((2, 6, 5, 1), 255, np.uint8)}})
    found = dict(read_pictures(tmp_path, grey))
    # ITU-R BT.601: 0.299 of red.
    assert (found["a.png"]["image"] == 60).all() and found["c.png"]["image"].shape == (6, 5, 1)
    assert "made grey and resized to 6x5 pixels" in capsys.readouterr().err
    assert "transparent" in str(found["d.png"])
    cut = dict(read_pictures(tmp_path / "b.png", grey, 4))["b.png"]["image"]
    assert cut.shape == (4, 4, 1) and (cut == 60).all()
    dark = images_from_arrays({"train": {"image": np.full((2, 6, 5, 1), 16, np.uint8)}})
    found = dict(read_pictures(tmp_path, dark))
    assert (found["a.png"]["image"] == 4).all() and (found["c.png"]["image"] == 9).all()
    assert "and scaled to 0..16, as" in capsys.readouterr().err


def test_a_path_without_pictures_says_what_is_there(tmp_path, data):
    (tmp_path / "1.wav").write_text("")
    with pytest.raises(InputError, match=r"has no picture; .*It has 1 file ending in .wav"):
        list(read_pictures(tmp_path, data))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"has no picture; .*Skipped: .*pipe.png"):
        list(read_pictures(tmp_path / "pipe.png", data))
    with pytest.raises(InputError, match="does not exist"):
        list(read_pictures(tmp_path / "gone", data))
