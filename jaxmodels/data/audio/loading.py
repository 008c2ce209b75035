"""Sounds by flags: what is read, how it is divided, and how long and fine its rows are."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.audio.checking import MENDS, Examined, common_rate, examine, load_examined
from jaxmodels.data.audio.dividing import divided, speakers_in, without_speaker
from jaxmodels.data.audio.sound_data import SoundData, absent_sounds
from jaxmodels.data.audio.stored import in_memory, open_sounds
from jaxmodels.data.audio.tones import CLEAR, NAME, tones
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import TRAIN, Dataset, parts_of
from jaxmodels.data.kept import kept
from jaxmodels.data.loading import fits_device
from jaxmodels.errors import InputError, require_known
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 1  # of what is kept in the cache of sounds
SPEAKERS = "speakers"


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """Which sounds, how they are divided, and how they get to the device."""

    data: str = NAME
    """Sounds of classes: tones (4,400 of telephone keys in noise, generated) or clear_tones, a tfds
    data set with one sound and a class label, or a folder, as ./words with train/CLASS/*.wav or
    CLASS/*.wav (also flac, ogg, mp3, sph)."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    rate: int = 0
    """Samples a second that all sounds are brought to; 0: as most of the training sounds have."""
    seconds: float = 0.0
    """Length of a row; of a longer sound the loudest part is kept, a shorter one is filled up with
    silence. 0: that of the longest training sound."""
    longest: float = 30.0
    """Most seconds of a sound; longer ones are bad."""
    validation_fraction: float | None = None
    """Share of the training sounds to choose the best checkpoint with, where there is no validation
    split; None: 0.1; 0: none."""
    test_fraction: float | None = None
    """Share of the training sounds to test with, where there is no test split; None: 0.1; 0: none.
    """
    folds: str = ""
    """speakers: all splits are joined, and one run for each speaker, in WORKDIR/fold-NAME, trains
    on the others and tests with that one; the last line has their mean and deviation."""
    fold: str | None = None
    """Train the run of this speaker alone."""
    speaker_pattern: str = ""
    """Regular expression whose group is the speaker in the name of a file; empty: those of
    free-spoken-digit-dataset and Speech Commands."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most sounds that may be bad (broken, cut, silent, too long, with a label out of range, in two
    splits, twice with two labels) and are left out; more are an error that lists them."""
    loading: Annotated[Literal["auto", "resident", "streamed"], Role.HOW] = "auto"
    """resident: all sounds lie on the device; streamed: they are read and decoded while it works;
    auto: resident where they fit into half of its memory."""
    workers: Annotated[int, Role.HOW] = 0
    """Processes that decode streamed sounds; 0: threads, which are enough on one machine."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        for name in ("rate", "seconds", "skip_bad_records", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 0")
        if self.longest <= 0:
            raise InputError(f"longest = {self.longest:g}; expected seconds above 0")
        require_known("folds", self.folds, ("", SPEAKERS))
        require_known("loading", self.loading, ("auto", "resident", "streamed"))
        if self.fold is not None and not self.folds:
            raise InputError(f"fold = {self.fold} without folds; expected --folds {SPEAKERS}")
        if self.folds and self.test_fraction:
            raise InputError(
                f"test_fraction = {self.test_fraction} with folds = {self.folds}; a speaker is to"
                " test with: leave it out"
            )
        check_shares(self.validation_fraction, self.test_fraction)


class _Checked(NamedTuple):
    """A data set with its good sounds."""

    dataset: Dataset
    examined: Examined
    folder: Path


def load_sounds(config: AudioConfig, given: Any = None, centred: bool = True) -> SoundData:
    """Loads the sounds that a config describes.

    given: sounds in memory to read in its place (see `in_memory`), a `SoundData`, or what a
      run has kept of some.
    centred: whether sounds lie in the middle of their rows, or at the beginning.

    Raises:
      InputError: no such data, more bad sounds than allowed, or no fold chosen.
    """
    if isinstance(given, Metadata):
        return absent_sounds(given)
    if isinstance(given, SoundData):
        return given
    config.validate()
    if config.folds and config.fold is None:
        raise InputError(f"folds = {config.folds}; one run is of one speaker: expected --fold NAME")
    checked = _checked(config, given)
    name, splits = checked.dataset.name, checked.examined.splits
    if config.folds:
        pieces = without_speaker(name, splits, str(config.fold), config.validation_fraction)
    else:
        pieces = divided(name, splits, config.validation_fraction, config.test_fraction)
    rate = config.rate or common_rate(splits)
    lengths = {split: _lengths(some.known, rate) for split, some in splits.items()}
    longest = max(int(lengths[p.stored][p.rows].max()) for p in pieces[TRAIN])
    samples = round(config.seconds * rate) if config.seconds else longest
    if samples < 1:
        raise InputError(f"seconds = {config.seconds:g}; expected a sample or more at {rate} Hz")
    data = _sound_data(checked, pieces, rate, samples, config.fold or "", lengths)
    return data if centred else replace(data, centred=False)


def sounds_elsewhere(data: SoundData, config: AudioConfig) -> SoundData:
    """Loads the sounds that a config names, whole splits of them, as more of `data`: at its rate
    and length and with its classes.

    Raises:
      InputError: as `load_sounds`, or other classes.
    """
    checked = _checked(config, None)
    names = tuple(checked.dataset.names["label"])
    if names != data.class_names:
        raise InputError(
            f"data '{checked.dataset.name}' has the classes {', '.join(names)}; the run knows"
            f" {', '.join(data.class_names)}"
        )
    pieces = divided(checked.dataset.name, checked.examined.splits, 0.0, 0.0)
    return _sound_data(checked, pieces, data.rate, data.samples, "", {})


def speakers_of(config: AudioConfig) -> list[str]:
    """Lists the speakers of the sounds that a config names.

    Raises:
      InputError: as `load_sounds`.
    """
    return speakers_in(_checked(config, None).examined.splits)


def is_streamed(data: SoundData, config: AudioConfig) -> bool:
    """Whether the sounds are read anew in every epoch."""
    if config.loading == "auto":
        return not fits_device(data.decoded_bytes)
    return config.loading == "streamed"


def _lengths(known: Mapping[str, np.ndarray], rate: int) -> np.ndarray:
    """Computes how many samples sounds have at a rate."""
    return np.ceil(known["samples"] * (rate / known["rate"])).astype(np.int64)


def _sound_data(
    checked: _Checked, pieces, rate: int, samples: int, speaker: str, lengths
) -> SoundData:
    dataset, examined, folder = checked
    cleaning = dict(examined.cleaning)
    longer = {split: np.flatnonzero(some > samples) for split, some in lengths.items()}
    if cut := {
        split: {
            "count": len(rows),
            "records": [examined.splits[split].key(int(row)) for row in rows[:20]],
        }
        for split, rows in longer.items()
        if len(rows)
    }:
        cleaning["cut"] = cut
    return SoundData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        class_names=tuple(dataset.names["label"]),
        checked=examined.splits,
        pieces=pieces,
        declared=int(dataset.facts.get("sound", 0)),
        rate=rate,
        samples=samples,
        folder=folder,
        speaker=speaker,
        cleaning=cleaning,
        skipped=examined.bad,
    )


def _checked(config: AudioConfig, given: Any) -> _Checked:
    dataset = _opened(config, given)
    parts = parts_of(dataset)
    classes, declared = dataset.names["label"], declared_rate(dataset, config.rate)
    options = repr((_VERSION, config.longest, classes, config.speaker_pattern, declared))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-sounds-{digest}"
    folder = cache_folder("data") / name

    def make(partial: Path) -> None:
        speakers = config.speaker_pattern
        examine(dataset.name, parts, len(classes), declared, config.longest, speakers, partial)

    examined = load_examined(kept(folder / "checked", make), parts)
    check_policy(dataset.name, examined.bad, config.skip_bad_records, folder / "checked", MENDS)
    if TRAIN not in examined.splits:
        raise InputError(f"data '{dataset.name}' has no good sound to train on; expected some")
    facts = {**dataset.facts, "sound": declared}
    return _Checked(dataset._replace(facts=facts), examined, folder)


def declared_rate(dataset: Dataset, rate: int) -> int:
    """Returns the rate of samples that are not encoded; 0 for files, which say it.

    Raises:
      InputError: nothing says it.
    """
    if "sound" not in dataset.facts:
        return 0
    declared = int(dataset.facts["sound"]) or rate
    if not declared:
        raise InputError(
            f"rate = 0; data '{dataset.name}' does not say how many samples a second it has:"
            " expected --rate N"
        )
    return declared


_generated = lru_cache(maxsize=2)(tones)


def _opened(config: AudioConfig, given: Any) -> Dataset:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(samples, label), ...],"
                " 'test': [...]}"
            )
        return in_memory(given, config.rate)
    if config.data in (NAME, CLEAR):
        return _generated(config.data)
    return open_sounds(config.data, config.data_dir, (NAME, CLEAR))
