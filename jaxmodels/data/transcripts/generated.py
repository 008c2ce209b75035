"""Strings that are generated: telephone keys in noise, the default that needs no download, and
connected digits, made of single ones that were spoken."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.audio.reading import Samples
from jaxmodels.data.audio.stored import open_tfds_sounds
from jaxmodels.data.audio.tones import RATE, key_tone, noisy
from jaxmodels.data.carving import share
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, ArrayRecords, Dataset, Records

KEYS = "dialled_keys"
DIGITS = "connected_digits"
SPOKEN = "free_spoken_digits"  # the data set of tfds that the digits are taken from
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_DIALLED = "1234567890*#"
_KEY_SIZES = {TRAIN: 1200, VALIDATION: 150, TEST: 250}
_KEY_COUNT = (3, 8)  # keys of a string
_KEY_SECONDS, _PAUSE_SECONDS = (0.06, 0.2), (0.04, 0.2)

_DIGIT_SIZES = {TRAIN: 4000, VALIDATION: 300, TEST: 500}
_DIGIT_COUNT = (3, 7)
_GAP_SECONDS, _EDGE_SECONDS = (0.0, 0.35), (0.05, 0.3)
_VALIDATION_SHARE = 0.1  # of the clips to train on
_FLOOR = 12.0  # of 32,768: the noise in gaps, since silence of zeros would give them away
_VERSION = "1"


def dialled_keys(sizes: Mapping[str, int] = _KEY_SIZES) -> Dataset:
    """Makes strings of 3 to 8 keys, as a telephone dials them, in noise: text "4 1 #"."""
    draw, splits = np.random.default_rng(1), {}
    for split, size in sizes.items():
        sounds, texts = [], []
        for _ in range(size):
            keys = draw.choice(list(_DIALLED), draw.integers(_KEY_COUNT[0], _KEY_COUNT[1] + 1))
            parts = [_pause(draw)]
            for key in keys.tolist():
                samples = round(draw.uniform(*_KEY_SECONDS) * RATE)
                parts += [key_tone(key, samples, RATE, draw), _pause(draw)]
            sounds.append(noisy(np.concatenate(parts), RATE, draw))
            texts.append(" ".join(keys.tolist()))
        splits[split] = _records(sounds, texts)
    content = "-".join(map(str, [KEYS, _VERSION, *sizes.values()]))
    return Dataset(KEYS, _VERSION, content, splits, facts={"sound": RATE})


def connected_digits(data_dir: str | None, sizes: Mapping[str, int] = _DIGIT_SIZES) -> Dataset:
    """Makes strings of 3 to 7 digits, with random gaps, of single digits that one speaker said:
    text "three five zero".

    Clips of the test split are in test strings alone, and of those to train on a tenth, chosen by
    their names, in validation strings alone. Each digit of a string is as loud as it was spoken.

    Raises:
      InputError: `free_spoken_digits` is not there.
    """
    dataset = open_tfds_sounds(SPOKEN, data_dir)
    rate = int(dataset.facts["sound"])
    draw, splits, clips = np.random.default_rng(2), {}, _clips_of(dataset, rate)
    for split, size in sizes.items():
        sounds, texts = [], []
        speakers = sorted(clips[split])
        for number in range(size):
            own = clips[split][speakers[number % len(speakers)]]
            count = draw.integers(_DIGIT_COUNT[0], _DIGIT_COUNT[1] + 1)
            chosen = [own[place] for place in draw.integers(0, len(own), count).tolist()]
            sounds.append(_joined([sound for sound, _ in chosen], rate, draw))
            texts.append(" ".join(WORDS[digit] for _, digit in chosen))
        splits[split] = _records(sounds, texts)
    digest = hashlib.sha256(f"{dataset.fingerprint} {_VERSION} {dict(sizes)}".encode())
    content = digest.hexdigest()[:16]
    return Dataset(DIGITS, dataset.version, content, splits, facts={"sound": rate})


def _clips_of(dataset: Dataset, rate: int) -> dict[str, dict[str, list[tuple[np.ndarray, int]]]]:
    """Reads the clips and digits of each speaker of each split."""
    found: dict[str, dict[str, list[tuple[np.ndarray, int]]]] = {}
    for stored in (TRAIN, TEST):
        records: Records = dataset.splits[stored]
        for number, record in enumerate(records.read(list(range(len(records))))):
            name = bytes(record.get("file", b"")).decode() or f"{stored}/{number}"
            held_out = stored == TRAIN and share(name) < _VALIDATION_SHARE
            split = VALIDATION if held_out else stored
            parts = name.rpartition("/")[2].split("_")
            speaker = parts[1] if len(parts) == 3 else ""
            clip = sound_of(record, rate).samples, int(record["label"])
            found.setdefault(split, {}).setdefault(speaker, []).append(clip)
    return found


def _joined(clips: Sequence[Samples], rate: int, draw: np.random.Generator) -> Samples:
    between = draw.uniform(*_GAP_SECONDS, len(clips) - 1).tolist()
    gaps = [draw.uniform(*_EDGE_SECONDS), *between, draw.uniform(*_EDGE_SECONDS)]
    parts = []
    for gap, clip in zip(gaps, [*clips, np.zeros(0, np.int16)]):
        parts += [np.zeros(round(gap * rate)), clip.astype(np.float64)]
    whole = np.concatenate(parts)
    whole += draw.normal(size=len(whole)) * _FLOOR
    return np.clip(np.rint(whole), -32768, 32767).astype(np.int16)


def _pause(draw: np.random.Generator) -> np.ndarray:
    return np.zeros(round(draw.uniform(*_PAUSE_SECONDS) * RATE))


def _records(sounds: Sequence[np.ndarray], texts: Sequence[str]) -> ArrayRecords:
    column = np.empty(len(sounds), object)
    column[:] = list(sounds)
    encoded = np.empty(len(texts), object)
    encoded[:] = [text.encode() for text in texts]
    return ArrayRecords({"sound": column, "text": encoded})
