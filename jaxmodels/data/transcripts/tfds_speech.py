"""Sounds with texts of tensorflow-datasets, read without TensorFlow."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from jaxmodels.data.audio.stored import sounds_without_tensorflow
from jaxmodels.data.dataset import TRAIN, Dataset, Record, Records
from jaxmodels.data.shards import fingerprint_of_shards, require_shards
from jaxmodels.data.tfds import TfdsRecords, describe_features, prepared_builder
from jaxmodels.data.transcripts.split_names import split_of_speech
from jaxmodels.errors import InputError

# Of several texts, the first of these is said: LJSpeech has one with numbers spelled out.
_SAID = ("text_normalized", "text", "transcript", "sentence")
_NAMES = ("filename", "file", "path", "id")  # texts that are not said


def open_tfds_speech(name: str, data_dir: str | None, embedded: Sequence[str] = ()) -> Dataset:
    """Opens a data set that tfds has prepared as ArrayRecord, with one sound and a text. Several
    training splits, as LibriSpeech has, are one.

    Raises:
      InputError: it is unknown, not prepared, in another format, has other features, or nothing to
        train on.
    """
    import tensorflow_datasets as tfds

    expected = "one sound and a text"
    with sounds_without_tensorflow():
        builder: Any = prepared_builder(name, data_dir, "sound", expected, embedded)
    features = builder.info.features

    def of(kind):
        return [key for key, value in features.items() if isinstance(value, kind)]

    sounds, texts = of(tfds.features.Audio), of(tfds.features.Text)
    texts = [text for text in texts if text.rpartition("/")[2] not in _NAMES]
    said = [text for text in _SAID if text in texts][:1] or texts
    if len(sounds) != 1 or len(said) != 1:
        raise InputError(
            f"data '{name}' has {len(sounds)} sounds and {len(texts)} texts; expected {expected},"
            f" and of several {', '.join(_SAID)}. Its features: {describe_features(builder)}"
        )
    columns = {"sound": sounds[0], "text": said[0]}
    stored = _splits_of(name, builder)
    everything = [split for some in stored.values() for split in some]
    require_shards(name, builder, everything)
    splits = {
        split: _Chained([TfdsRecords(builder, own, columns) for own in some])
        for split, some in stored.items()
    }
    fingerprint = fingerprint_of_shards(name, builder, everything)
    rate = int(features[sounds[0]].sample_rate or 0)
    version = str(builder.info.version)
    return Dataset(name.replace("/", "_"), version, fingerprint, splits, facts={"sound": rate})


def _splits_of(name: str, builder: Any) -> Mapping[str, list[str]]:
    """Finds the stored splits of each split.

    Raises:
      InputError: nothing to train on.
    """
    stored = {split: info for split, info in builder.info.splits.items() if info.num_examples}
    found: dict[str, list[str]] = {}
    for own in stored:
        if split := split_of_speech(own, "_"):
            found.setdefault(split, []).append(own)
    if TRAIN not in found:
        raise InputError(
            f"data '{name}' has no training split; expected 'train', or train_... as LibriSpeech's."
            f" Found: {', '.join(stored) or 'none'}"
        )
    return found


class _Chained:
    """`Records` of several, one after another."""

    def __init__(self, parts: Sequence[Records]):
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def _place(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return part, row - (self._ends[part - 1] if part else 0)

    def key(self, row: int) -> str:
        """Returns SPLIT/ROW of the stored split."""
        part, own = self._place(row)
        return self._parts[part].key(own)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads these records, those of each part together."""
        places = [self._place(row) for row in rows]
        found: dict[tuple[int, int], Record] = {}
        for part in {part for part, _ in places}:
            own = [row for other, row in places if other == part]
            found |= {(part, row): record for row, record in zip(own, self._parts[part].read(own))}
        return [found[place] for place in places]
