"""What a prediction is asked for: pictures by a path, whatever else lies there."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxmodels.data.images import images_from_arrays, read_pictures
from jaxmodels.errors import InputError


@pytest.fixture
def data():
    return images_from_arrays({"train": {"image": np.zeros((2, 6, 5, 3), np.uint8)}})


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


def test_a_path_without_pictures_says_what_is_there(tmp_path, data):
    (tmp_path / "1.wav").write_text("")
    with pytest.raises(InputError, match=r"has no picture; .*It has 1 file ending in .wav"):
        list(read_pictures(tmp_path, data))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"has no picture; .*Skipped: .*pipe.png"):
        list(read_pictures(tmp_path / "pipe.png", data))
    with pytest.raises(InputError, match="does not exist"):
        list(read_pictures(tmp_path / "gone", data))
