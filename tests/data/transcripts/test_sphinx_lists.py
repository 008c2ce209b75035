"""Folders with lists of CMU Sphinx, as AN4 has them."""

import numpy as np
import pytest
import soundfile

from jaxmodels.data.audio.reading import decode_sound
from jaxmodels.data.transcripts.layouts import open_folder
from jaxmodels.errors import InputError

RATE = 1000


def write_an4(folder):
    """Two sounds to train on and one to test with, as NIST Sphere files below wav."""
    noise = np.random.default_rng(0).normal(0, 3000, (3, 300)).astype(np.int16)
    names = ("an4_clstk/fash/an251-fash-b", "an4_clstk/mmxg/cen8-b", "an4test_clstk/fcaw/an406-b")
    for name, sound in zip(names, noise):
        path = folder / "wav" / f"{name}.sph"
        path.parent.mkdir(parents=True)
        soundfile.write(path, sound, RATE, format="NIST", subtype="PCM_16")
    lists = folder / "etc"
    lists.mkdir()
    (lists / "an4_train.fileids").write_text(f"{names[0]}\n{names[1]}\n")
    (lists / "an4_train.transcription").write_text(
        "<s> YES </s> (an251-fash-b)\n<s> ERASE C <sil> Q ++NOISE++ </s> (cen8-b)\n"
    )
    (lists / "an4_test.fileids").write_text(f"{names[2]}\n")
    (lists / "an4_test.transcription").write_text("RUBOUT FIFTY (an406-b)\n")
    return noise


def test_the_lists_say_texts_and_splits(tmp_path):
    noise = write_an4(tmp_path)
    found = open_folder(tmp_path).splits
    assert list(found) == ["train", "test"]
    texts = [record["text"] for record in found["train"].read([0, 1])]
    assert texts == [b"YES", b"ERASE C Q"]
    [record] = found["test"].read([0])
    assert record["text"] == b"RUBOUT FIFTY"
    assert record["file"] == b"wav/an4test_clstk/fcaw/an406-b.sph"
    sound = decode_sound(record["sound"])
    assert sound.rate == RATE and np.array_equal(sound.samples, noise[2])
    # Without file ids, the names behind the texts are looked up.
    for path in (tmp_path / "etc").glob("*.fileids"):
        path.unlink()
    assert open_folder(tmp_path).splits["test"].read([0])[0]["text"] == b"RUBOUT FIFTY"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("an4_train.fileids", "a/an251-fash-b\n", "has 2 lines and its .fileids 1"),
        ("an4_train.fileids", "cen8-b\nan251-fash-b\n", "has an251-fash-b where its .fileids have"),
        ("an4_all.transcription", "YES (cen8-b)\n", "an4_all.transcription is the list of no"),
        ("other_test.transcription", "YES (cen8-b)\n", "lists wav/an4_clstk/mmxg/cen8-b.sph twice"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, file, content, reason):
    write_an4(tmp_path)
    (tmp_path / "etc" / file).write_text(content)
    with pytest.raises(InputError, match=reason):
        open_folder(tmp_path)
