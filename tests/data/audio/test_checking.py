"""Every kind of bad recording is found, named and left out; odd ones are counted and listed."""

import os

import numpy as np
import pytest

from jaxmodels.data.audio import AudioConfig, load_sounds
from jaxmodels.data.audio.reading import encode_wav
from jaxmodels.errors import InputError
from tests.data.audio.recordings import RATE, tone, write, write_classes

WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def load(folder, **flags):
    return load_sounds(AudioConfig(data=f"{folder}", **{**WHOLE, **flags}))


def quiet(level):
    return (tone(300) / 8000 * level).astype(np.int16)


BAD = {
    "empty": (b"", "is empty"),
    "undecodable": (b"not a sound", "cannot be decoded: Format not recognised"),
    "cut": (encode_wav(tone(300), RATE)[:-300], "is cut: it lacks 300 bytes"),
    "silent": (encode_wav(quiet(20), RATE), "is silent: no sample is above -60 dB"),
    "short": (encode_wav(tone(300)[:50], RATE), "lasts 12 ms; expected at least 20"),
    "overlong": (encode_wav(tone(300, seconds=1.5), RATE), "lasts 1.5 s; expected at most 1"),
    "contradiction": (encode_wav(tone(1200), RATE), "is the same sound as high/0.wav with another"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_recordings_are_named_and_may_be_skipped(tmp_path, kind, capsys):
    write_classes(tmp_path, 3)
    content, reason = BAD[kind]
    (tmp_path / "low/x.wav").write_bytes(content)
    with pytest.raises(InputError, match=f"1 bad record \\(1 {kind}\\).*low/x.wav {reason}"):
        load(tmp_path, longest=1.0)
    data = load(tmp_path, longest=1.0, skip_bad_records=1)
    assert data.sizes == {"train": 6} and [row.kind for row in data.skipped] == [kind]
    assert "note: skipped 1 bad record" in capsys.readouterr().err
    assert data.facts()["skipped"]["count"] == 1
    assert data.columns("train")["sound"].shape == (6, 800)


def test_files_that_are_gone_or_unreadable(tmp_path):
    write_classes(tmp_path, 2)
    os.symlink(tmp_path / "nowhere", tmp_path / "low/x.wav")
    with pytest.raises(InputError, match=r"low/x\.wav cannot be read: No such file"):
        load(tmp_path)


def test_a_recording_of_two_splits_is_trained_on_in_none(tmp_path):
    write_classes(tmp_path / "train", 3), write_classes(tmp_path / "test", 2, seed=9)
    write(tmp_path / "test/low/1.wav", tone(300, 1))
    with pytest.raises(InputError, match=r"train/low/1\.wav has the same sound as test/low/1\.wav"):
        load(tmp_path)
    data = load(tmp_path, skip_bad_records=1)
    assert data.sizes == {"train": 5, "test": 4}


def test_repeated_and_clipped_recordings_are_counted_and_listed(tmp_path):
    write_classes(tmp_path, 3)
    write(tmp_path / "low/again.wav", tone(300, 1))
    loud = np.clip(tone(300, 5).astype(int) * 10, -32768, 32767).astype(np.int16)
    write(tmp_path / "low/loud.wav", loud)
    data = load(tmp_path)
    assert data.cleaning["repeated"] == {"train": {"count": 1, "records": ["low/again.wav"]}}
    assert data.cleaning["clipped"] == {"train": {"count": 1, "records": ["low/loud.wav"]}}
    assert data.cleaning["rates"] == {"4000": 8}
    assert "clipped in train: 1, as low/loud.wav" in data.summary()
    # The second time, what was found is read from the cache.
    assert load(tmp_path).cleaning == data.cleaning
