"""Sounds with texts of tfds, read without TensorFlow, and digits made of spoken ones."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmodels.data.transcripts import TranscriptConfig, load_transcripts
from jaxmodels.data.transcripts.generated import SPOKEN, WORDS, connected_digits
from jaxmodels.data.transcripts.split_names import split_of_speech
from jaxmodels.errors import InputError
from tests.tfds_folder import (
    describe_as_audio,
    serialized,
    write_dataset,
    write_spoken_digits,
)

RATE = 1000
LEVEL = 130  # of clips, which is far above the noise between them


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))


def noise(seed, samples=200):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 6000, samples).clip(-32000, 32000).astype(np.int16)


def write_librispeech(root, name="libri", sizes=None, **others):
    """A data set with the features and splits of tfds's librispeech; text N of noise N."""
    sizes = sizes or {"train_clean100": 3, "train_other500": 2, "dev_clean": 1, "test_clean": 2}
    features = {
        "speech": tfds.features.Tensor(shape=(None,), dtype=np.int64),
        "text": tfds.features.Text(),
        "id": tfds.features.Text(),
        **others,
    }
    number, records = 0, {}
    for split, size in sizes.items():
        records[split] = []
        for _ in range(size):
            values = {"speech": noise(number).tolist(), "text": [f"SAID {number}".encode()]}
            values["id"] = [f"19-198-{number:04}".encode()]
            records[split].append(serialized(values))
            number += 1
    describe_as_audio(write_dataset(root, name, features, records), "speech", RATE)


def test_all_training_splits_are_one_and_others_keep_their_kinds(tmp_path):
    sizes = {"train_clean100": 3, "dev_clean": 1, "train_other500": 2}
    write_librispeech(tmp_path, sizes=sizes | {"test_clean": 2, "test_other": 1})
    data = load_transcripts(TranscriptConfig(data="libri", data_dir=str(tmp_path)))
    assert data.rate == RATE
    assert data.sizes == {"train": 5, "validation": 1, "test": 2, "test-other": 1}
    # Records are numbered in the order of the stored splits.
    assert data.texts("train") == [f"said {number}" for number in (0, 1, 2, 4, 5)]
    columns = data.columns("train")
    for row, number in enumerate((0, 1, 2, 4, 5)):
        np.testing.assert_array_equal(columns["sound"][row], noise(number))
    assert data.records("train").key(3) == "train_other500/0"
    [one, other] = data.records("train").read([4, 0])
    assert one["text"] == b"SAID 5" and other["text"] == b"SAID 0"


def test_data_of_tfds_without_a_text_or_a_training_split_are_refused(tmp_path):
    config = TranscriptConfig(data_dir=str(tmp_path))

    def load(name):
        return load_transcripts(TranscriptConfig(data=name, data_dir=config.data_dir))

    write_librispeech(tmp_path, "untrained", {"test_clean": 1})
    with pytest.raises(InputError, match="has no training split; expected 'train', or train_"):
        load("untrained")
    splits = {"train": [(noise(0), "a.wav", 0), (noise(1), "b.wav", 1)]}
    write_spoken_digits(tmp_path, "words", splits, RATE, ("no", "yes"))
    with pytest.raises(InputError, match="expected one sound and a text"):
        load("words")


def test_splits_of_speech():
    names = {"train-clean-360": "train", "dev-clean": "validation", "dev": "validation"}
    names |= {"Test-Other": "test-other", "test-clean": "test", "valid": "validation"}
    names |= {"development": None, "wavs": None, "test_other": None, "dev-": None}
    assert {name: split_of_speech(name) for name in names} == names
    assert split_of_speech("train_other500", "_") == "train"
    assert split_of_speech("dev_other", "_") == "dev-other"


def write_digits(root):
    """A data set like free_spoken_digits: every clip is a constant that says which it is."""
    splits, value = {"train": [], "test": []}, LEVEL
    for split, count in (("train", 9), ("test", 3)):
        for speaker in ("ann", "bob"):
            for digit in range(10):
                for take in range(count):
                    clip = np.full(60, value, np.int16)
                    number = take + (0 if split == "test" else 5)
                    splits[split].append((clip, f"{digit}_{speaker}_{number}.wav", digit))
                    value += LEVEL
    write_spoken_digits(root, SPOKEN, splits, RATE, map(str, range(10)))
    return {
        int(clip[0]): (split, file.split("_")[1], digit)
        for split, some in splits.items()
        for clip, file, digit in some
    }


def clips_of(sound):
    """The constants that a string of digits is made of; noise and silence lie far below them."""
    levels = np.rint(np.asarray(sound, float) / LEVEL).astype(int) * LEVEL
    runs = np.flatnonzero(np.diff(levels, prepend=0))
    lengths = np.diff([*runs, len(levels)])
    found = []
    for start, length in zip(runs.tolist(), lengths.tolist()):
        # Of the same clip twice without a gap, one run is as long as both.
        found += [int(levels[start])] * (length // 60 if levels[start] else 0)
    return found


def test_connected_digits_are_of_one_speaker_and_of_clips_of_their_split(tmp_path):
    known = write_digits(tmp_path)
    sizes = {"train": 60, "validation": 10, "test": 20}
    dataset = connected_digits(str(tmp_path), sizes)
    assert {split: len(records) for split, records in dataset.splits.items()} == sizes
    used = {}
    for split, size in sizes.items():
        for record in dataset.splits[split].read(list(range(size))):
            clips = clips_of(record["sound"])
            facts = [known[clip] for clip in clips]
            assert record["text"].decode().split() == [WORDS[digit] for *_, digit in facts]
            assert 3 <= len(clips) <= 7 and len({speaker for _, speaker, _ in facts}) == 1
            used.setdefault(split, set()).update(clips)
    assert not used["train"] & used["validation"] and not used["train"] & used["test"]
    stored = {split: {known[clip][0] for clip in clips} for split, clips in used.items()}
    assert stored == {"train": {"train"}, "validation": {"train"}, "test": {"test"}}
    again = connected_digits(str(tmp_path), sizes)
    assert again.fingerprint == dataset.fingerprint
    rows = [some.splits["test"].read([7])[0]["sound"] for some in (dataset, again)]
    np.testing.assert_array_equal(*rows)
