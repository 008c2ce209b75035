"""Sounds by name, rate and length; shares and speakers; arrays; tfds without TensorFlow."""

import numpy as np
import pytest

from jaxmodels.data.audio import AudioConfig, load_sounds, read_sounds, sounds_elsewhere
from jaxmodels.data.audio.sound_data import loudest
from jaxmodels.data.audio.tones import KEYS, RATE, key_tone
from jaxmodels.data.dataset import BadRecord
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from tests.data.audio.recordings import CLASSES, tone, write, write_classes
from tests.tfds_folder import write_spoken_digits


def load(folder, **flags):
    return load_sounds(AudioConfig(data=f"{folder}", **flags))


def test_rows_have_one_rate_and_length_with_sounds_in_the_middle(tmp_path):
    write_classes(tmp_path, 10)
    write(tmp_path / "low/other.wav", tone(300, 99, rate=8000, seconds=0.1), 8000)
    data = load(tmp_path, seconds=0.25)
    assert (data.rate, data.samples) == (4000, 1000)
    assert sum(data.sizes.values()) == 21 and set(data.sizes) == {"train", "validation", "test"}
    rows = {}
    for split in data.sizes:
        columns, key = data.columns(split), data.records(split).key
        rows |= {
            key(row): {n: c[row] for n, c in columns.items()}
            for row in range(len(columns["label"]))
        }
    np.testing.assert_array_equal(rows["high/3.wav"]["sound"][100:900], tone(1200, 3))
    assert not rows["high/3.wav"]["sound"][:100].any() and rows["high/3.wav"]["length"] == 800
    other = rows["low/other.wav"]
    assert other["length"] == 400 and other["label"] == 1
    spectrum = np.abs(np.fft.rfft(other["sound"][300:700].astype(float)))
    assert spectrum.argmax() == 30


def test_of_a_longer_sound_the_loudest_part_is_kept(tmp_path):
    sound = np.concatenate([np.zeros(50), np.full(30, 900), np.zeros(40)]).astype(np.int16)
    np.testing.assert_array_equal(loudest(sound, 30), sound[50:80])
    write_classes(tmp_path, 2)
    data = load(tmp_path, seconds=0.1, validation_fraction=0.0, test_fraction=0.0)
    assert data.cleaning["cut"]["train"]["count"] == 4 and data.columns("train")["length"][0] == 400


def test_streamed_batches_are_the_resident_ones(tmp_path):
    data = load(write_classes(tmp_path, 5))
    order = Order(len(data.labels("train")), 4, seed=0)
    sent = [
        next(iter(data.source("train", streamed).send(order, [(0, 2)], 2)))
        for streamed in (False, True)
    ]
    for name, values in sent[1].items():
        np.testing.assert_array_equal(values, data.columns("train")[name][sent[0]["row"]])


def speakers(folder):
    for name, frequency in CLASSES.items():
        for person in ("ann", "bob", "cid"):
            for number in range(4):
                seed = 100 * ord(person[0]) + number
                write(folder / "train" / name / f"0_{person}_{number}.wav", tone(frequency, seed))
    write(folder / "test/low/0_ann_9.wav", tone(300, 7))
    return folder


def test_a_speaker_who_is_left_out_is_in_no_other_split(tmp_path):
    folder = speakers(tmp_path)
    for person, size in (("ann", 9), ("bob", 8)):
        data = load(folder, folds="speakers", fold=person, validation_fraction=0.2)
        known = {split: set(data.known(split, "speaker").tolist()) for split in data.sizes}
        assert known["test"] == {person.encode()} and data.sizes["test"] == size
        assert known["train"] == {b"ann", b"bob", b"cid"} - {person.encode()}
        assert known["validation"] <= known["train"] and data.facts()["left_out"] == person
        assert sum(data.sizes.values()) == 25
        keys = [data.records(s).key(row) for s in data.sizes for row in range(data.sizes[s])]
        assert len(set(keys)) == 25
        assert all(f"_{person}_" in key for key in keys[-size:])
        assert data.columns("test")["label"].tolist() == data.labels("test").tolist()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"folds": "speakers"}, "expected --fold NAME"),
        ({"folds": "speakers", "fold": "dan"}, "has the speakers ann, bob, cid"),
        ({"fold": "ann"}, "expected --folds speakers"),
        ({"folds": "words", "fold": "ann"}, "unknown folds"),
        ({"folds": "speakers", "fold": "ann", "speaker_pattern": "x(y)"}, "0 speakers and 25"),
        ({"speaker_pattern": "("}, "no regular expression"),
        ({"speaker_pattern": "a"}, "expected a group"),
        ({"longest": 0.0}, "expected seconds above 0"),
        ({"test_fraction": 0.1}, "test_fraction = 0.1, but data"),
        ({"validation_fraction": 0.6, "test_fraction": 0.6}, "less than 1 together"),
    ],
)
def test_impossible_flags_are_refused(tmp_path, flags, reason):
    with pytest.raises(InputError, match=reason):
        load(speakers(tmp_path), **flags)


def test_arrays_in_memory_and_sounds_to_predict_for(tmp_path):
    examples = [(tone(f, n), name) for name, f in CLASSES.items() for n in range(3)]
    given = {"train": examples, "test": [(tone(300, 9).astype(np.float32) / 32768, "low")]}
    data = load_sounds(AudioConfig(rate=4000, validation_fraction=0.0), given)
    assert data.class_names == ("high", "low") and data.sizes == {"train": 6, "test": 1}
    np.testing.assert_array_equal(data.columns("test")["sound"][0], tone(300, 9))
    write(tmp_path / "b/one.wav", tone(300, 9))
    (tmp_path / "a.flac").write_bytes(b"broken")
    found = dict(read_sounds(tmp_path, data))
    assert list(found) == ["a.flac", "b/one.wav"] and isinstance(found["a.flac"], BadRecord)
    np.testing.assert_array_equal(found["b/one.wav"]["sound"], tone(300, 9))
    [(name, columns)] = read_sounds([tone(300, 9)], data)
    assert name == "0" and columns["length"] == 800
    long = np.tile(tone(300, 9), 2)
    [(_, columns)], [(_, error)] = (
        list(read_sounds([long], data, whole)) for whole in (False, True)
    )
    assert columns["length"] == 800 and str(error).startswith("lasts 0.4 s; expected at most 0.2")
    with pytest.raises(InputError, match="expected --rate N"):
        load_sounds(AudioConfig(), given)
    with pytest.raises(InputError, match="has no sound"):
        next(read_sounds(write(tmp_path / "c/x.txt", tone(300)).parent, data))


def test_other_sounds_have_the_rate_and_length_of_a_run(tmp_path):
    data = load(write_classes(tmp_path / "a", 8))
    other = sounds_elsewhere(data, AudioConfig(data=str(write_classes(tmp_path / "b", 2, 50))))
    assert other.sizes == {"train": 4} and other.samples == data.samples
    write(tmp_path / "b/new/0.wav", tone(600))
    with pytest.raises(InputError, match="the run knows high, low"):
        sounds_elsewhere(data, AudioConfig(data=str(tmp_path / "b")))


def test_tfds_records_are_read_without_tensorflow(tmp_path):
    splits = {
        split: [
            (tone(frequency, seed + number), f"{label}_ann_{number}.wav", label)
            for label, frequency in enumerate(CLASSES.values())
            for number in range(3)
        ]
        for split, seed in (("train", 0), ("test", 50))
    }
    write_spoken_digits(tmp_path, "spoken", splits, 4000, CLASSES)
    data = load("spoken", data_dir=str(tmp_path), validation_fraction=0.0)
    assert data.sizes == {"train": 6, "test": 6} and data.rate == 4000
    np.testing.assert_array_equal(data.columns("train")["sound"][4], tone(300, 1))
    assert set(data.known("train", "speaker").tolist()) == {b"ann"}
    with pytest.raises(InputError, match="unknown data 'spokn'"):
        load("spokn", data_dir=str(tmp_path))


def test_a_key_is_two_waves_of_its_row_and_column():
    for key, pair in (("1", (697, 1209)), ("D", (941, 1633)), ("8", (852, 1336))):
        spectrum = np.abs(np.fft.rfft(key_tone(key, RATE, RATE)))
        assert set(np.argsort(spectrum)[-2:].tolist()) == set(pair)
    assert len(KEYS) == 16
