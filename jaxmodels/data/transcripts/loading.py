"""Sounds with texts by flags: what is read, how it is divided, and how it becomes tokens."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.cache import cache_folder
from jaxmodels.data.audio.checking import common_rate
from jaxmodels.data.audio.dividing import Pieces, divided
from jaxmodels.data.audio.loading import declared_rate
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import (
    TRAIN,
    ArrayRecords,
    Dataset,
    Part,
    Selection,
    evaluation_splits,
    parts_of,
)
from jaxmodels.data.kept import kept
from jaxmodels.data.loading import fits_device
from jaxmodels.data.transcripts.checking import MENDS, Examined, examine, load_examined
from jaxmodels.data.transcripts.generated import DIGITS, KEYS, connected_digits, dialled_keys
from jaxmodels.data.transcripts.labels import FORMS, UNITS, in_form, labels_of
from jaxmodels.data.transcripts.layouts import open_folder
from jaxmodels.data.transcripts.tfds_speech import open_tfds_speech
from jaxmodels.data.transcripts.transcript_data import Coder, TranscriptData, absent_transcripts
from jaxmodels.errors import InputError, require_known
from jaxmodels.files import is_path
from jaxmodels.ops.ctc import frames_needed
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 1  # of what is kept in the cache of sounds with texts
_LISTED = 20
Frames = Callable[[Int[np.ndarray, " sound"]], Int[np.ndarray, " sound"]]


@dataclass(frozen=True, kw_only=True)
class TranscriptConfig:
    """Which sounds with texts, how they are divided, and their tokens."""

    data: str = KEYS
    """Sounds with texts: dialled_keys (1,600 strings of telephone keys in noise, generated),
    connected_digits (strings of the spoken digits of tfds's free_spoken_digits), a tfds data set
    with one sound and a text, or a folder: NAME.wav with NAME.txt (also flac, ogg, mp3, sph),
    LJSpeech's, LibriSpeech's or AN4's layout, with folders train, validation and test or
    without."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    rate: int = 0
    """Samples a second that all sounds are brought to; 0: as most of the training sounds have."""
    longest: float = 30.0
    """Most seconds of a sound; longer ones are bad."""
    units: Literal["auto", "characters", "words"] = "auto"
    """What a label of connectionist temporal classification is: characters, words, or auto: words
    for the data that come with the project, which have few, and characters for others."""
    form: Literal["plain", "kept"] = "plain"
    """Texts to learn: plain, in small letters without punctuation; kept, as they are."""
    validation_fraction: float | None = None
    """Share of the training sounds to choose the best checkpoint with, where there is no validation
    split; None: 0.1; 0: none."""
    test_fraction: float | None = None
    """Share of the training sounds to test with, where there is no test split; None: 0.1; 0: none.
    """
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most sounds that may be bad (broken, silent, too long, without a text, with a text that is
    too long for them, in two splits, twice with two texts) and are left out; more are an error that
    lists them."""
    loading: Annotated[Literal["auto", "resident", "streamed"], Role.HOW] = "auto"
    """resident: all sounds lie on the device; streamed: they are read and decoded while it works;
    auto: resident where they fit into half of its memory."""
    workers: Annotated[int, Role.HOW] = 0
    """Processes that decode streamed sounds; 0: threads, which are enough on one machine."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        for name in ("rate", "skip_bad_records", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 0")
        if self.longest <= 0:
            raise InputError(f"longest = {self.longest:g}; expected seconds above 0")
        require_known("units", self.units, ("auto", *UNITS))
        require_known("form", self.form, FORMS)
        require_known("loading", self.loading, ("auto", "resident", "streamed"))
        check_shares(self.validation_fraction, self.test_fraction)


class _Checked(NamedTuple):
    """A data set with its good sounds."""

    dataset: Dataset
    examined: Examined
    folder: Path


def load_transcripts(
    config: TranscriptConfig,
    given: Any = None,
    *,
    coder: Coder | None = None,
    frames: Callable[[int], Frames] | None = None,
) -> TranscriptData:
    """Loads the sounds with texts that a config describes.

    given: sounds in memory to read in its place, {"train": [(samples, text), ...], "test": [...]}
      at --rate, a `TranscriptData`, or what a run has kept of some.
    coder: makes tokens of texts; None: labels of the training texts.
    frames: gives, for a rate, the function from samples to the frames in which a model can say
      labels. Texts that need more are bad. None: any length is good.

    Raises:
      InputError: no such data, or more bad sounds than allowed.
    """
    if isinstance(given, Metadata):
        return absent_transcripts(given, coder)
    if isinstance(given, TranscriptData):
        return given
    config.validate()
    checked = _checked(config, given)
    name, examined = checked.dataset.name, checked.examined
    texts = {
        split: [in_form(text, config.form) for text in some]
        for split, some in examined.texts.items()
    }
    pieces = divided(name, examined.splits, config.validation_fraction, config.test_fraction)
    if coder is None:
        own = pieces[TRAIN][0]
        few = "words" if config.data in (KEYS, DIGITS) and given is None else "characters"
        unit = few if config.units == "auto" else config.units
        coder = labels_of((texts[own.stored][row] for row in own.rows), unit)
    data = _data(config, checked, texts, pieces, coder, config.rate or common_rate(examined.splits))
    return _without_hurried(config, data, frames) if frames else data


def transcripts_elsewhere(
    data: TranscriptData, config: TranscriptConfig, samples: int = 0
) -> TranscriptData:
    """Loads the sounds with texts that a config names, whole splits of them, as more of `data`: at
    its rate and with its tokens.

    samples: of a row; 0: as many as those of `data` have.

    Raises:
      InputError: as `load_transcripts`, or longer sounds than a row.
    """
    samples = samples or data.samples
    checked = _checked(config, None)
    texts = {
        split: [in_form(text, data.form) for text in some]
        for split, some in checked.examined.texts.items()
    }
    pieces = divided(checked.dataset.name, checked.examined.splits, 0.0, 0.0)
    other = _data(config, checked, texts, pieces, data.coder, data.rate)
    if other.samples > samples:
        raise InputError(
            f"data '{other.name}' has a sound of {other.samples / data.rate:.1f} s; expected at"
            f" most {samples / data.rate:.1f}, for which the model has places: --longest SECONDS"
            " --skip-bad-records N leaves such sounds out"
        )
    return replace(other, samples=samples)


def is_streamed(data: TranscriptData, config: TranscriptConfig) -> bool:
    """Whether the sounds are read anew in every epoch."""
    if config.loading == "auto":
        return not fits_device(data.decoded_bytes)
    return config.loading == "streamed"


def in_memory(splits: Mapping[str, Any], rate: int, name: str = "given") -> Dataset:
    """Makes a data set of lists: {"train": [(samples, text), ...], "test": [...]}. Samples are
    int16, or floats of -1..1.

    Raises:
      InputError: no training split, no rate, or examples of another form.
    """
    splits = {split: list(examples) for split, examples in splits.items()}
    if TRAIN not in splits:
        raise InputError(f"data has the splits {', '.join(splits) or 'none'}; expected '{TRAIN}'")
    if not rate:
        raise InputError("rate = 0; sounds in memory need one: expected --rate N, samples a second")
    if any(len(one) != 2 for some in splits.values() for one in some):
        raise InputError("data has other examples; expected (samples, text)")
    digest, records = hashlib.sha256(repr(rate).encode()), {}
    for split in [TRAIN, *evaluation_splits(splits)]:
        sounds = np.empty(len(splits[split]), object)
        sounds[:] = [np.asarray(samples) for samples, _ in splits[split]]
        texts = np.empty(len(splits[split]), object)
        texts[:] = [str(text).encode() for _, text in splits[split]]
        records[split] = ArrayRecords({"sound": sounds, "text": texts})
        digest.update(f"{split} {texts.tolist()}".encode())
        for sound in sounds:
            digest.update(str((sound.shape, sound.dtype)).encode() + sound.tobytes())
    return Dataset(name, "memory", digest.hexdigest()[:16], records, facts={"sound": rate})


def _data(
    config: TranscriptConfig, checked: _Checked, texts, pieces: Pieces, coder: Coder, rate: int
) -> TranscriptData:
    dataset, examined, folder = checked
    used = {piece.stored for some in pieces.values() for piece in some}
    known = [examined.splits[split].known for split in sorted(used)]
    samples = max(int(_samples(one, rate).max()) for one in known)
    room = max(len(coder.encode(text)) for split in used for text in texts[split])
    cleaning = dict(examined.cleaning)
    if unknown := _unknown(coder, texts, examined.splits):
        cleaning["unknown"] = unknown
    return TranscriptData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        checked=examined.splits,
        stored_texts=texts,
        pieces=pieces,
        declared=int(dataset.facts.get("sound", 0)),
        rate=rate,
        samples=samples,
        room=max(room, 1),
        form=config.form,
        coder=coder,
        folder=folder,
        cleaning=cleaning,
        skipped=examined.bad,
    )


def _without_hurried(
    config: TranscriptConfig, data: TranscriptData, frames: Callable[[int], Frames]
) -> TranscriptData:
    """Leaves out the sounds that are too short for their texts.

    Raises:
      InputError: with the other bad ones, these are more than allowed.
    """
    count, bad, pieces = frames(data.rate), list(data.skipped), {}
    for split, some in data.pieces.items():
        kept_pieces = []
        for piece in some:
            selection = data.checked[piece.stored]
            own = [data.coder.encode(data.stored_texts[piece.stored][row]) for row in piece.rows]
            there = count(_samples(selection.known, data.rate)[piece.rows])
            needed = np.array([_needed(labels) for labels in own], np.int64)
            good = (needed <= there) & (needed > 0)
            for at in np.flatnonzero(~good).tolist():
                told = f"has {there[at]} frames; its text needs {needed[at]}"
                told = told if needed[at] else "has a text without a label that training texts have"
                part = Part(piece.stored, selection.records, selection.rows)
                bad.append(part.bad(int(selection.rows[piece.rows[at]]), "hurried", told))
            kept_pieces.append(piece._replace(rows=piece.rows[good]))
        if any(len(piece.rows) for piece in kept_pieces):
            pieces[split] = tuple(kept_pieces)
    if len(bad) > len(data.skipped):
        check_policy(data.name, bad, config.skip_bad_records, None, MENDS)
    if TRAIN not in pieces:
        raise InputError(f"data '{data.name}' has no good sound to train on; expected some")
    return replace(data, pieces=pieces, skipped=tuple(bad))


def _needed(labels: Int[np.ndarray, " label"]) -> int:
    if not len(labels):
        return 0
    return int(frames_needed(labels[None], np.array([len(labels)]))[0])


def _samples(known: Mapping[str, np.ndarray], rate: int) -> np.ndarray:
    """Computes how many samples sounds have at a rate."""
    return np.ceil(known["samples"] * (rate / known["rate"])).astype(np.int64)


def _unknown(
    coder: Coder, texts: Mapping[str, Sequence[str]], splits: Mapping[str, Selection]
) -> dict[str, Any]:
    """Counts and names the sounds whose texts have units that training texts lack."""
    unknown_in = getattr(coder, "unknown_in", None)
    if unknown_in is None:
        return {}
    found = {}
    for split, some in texts.items():
        rows = [row for row, text in enumerate(some) if unknown_in(text)]
        if rows:
            names = [splits[split].key(row) for row in rows[:_LISTED]]
            found[split] = {"count": len(rows), "records": names}
    return found


def _checked(config: TranscriptConfig, given: Any) -> _Checked:
    dataset = _opened(config, given)
    parts = parts_of(dataset)
    declared = declared_rate(dataset, config.rate)
    dataset = dataset._replace(facts={**dataset.facts, "sound": declared})
    options = repr((_VERSION, config.longest, declared))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-transcripts-{digest}"
    folder = cache_folder("data") / name

    def make(partial: Path) -> None:
        examine(dataset.name, parts, declared, config.longest, partial)

    examined = load_examined(kept(folder / "checked", make), parts)
    check_policy(dataset.name, examined.bad, config.skip_bad_records, folder / "checked", MENDS)
    if TRAIN not in examined.splits:
        raise InputError(f"data '{dataset.name}' has no good sound to train on; expected some")
    return _Checked(dataset, examined, folder)


_keys = lru_cache(maxsize=1)(dialled_keys)
_digits = lru_cache(maxsize=1)(connected_digits)


def _opened(config: TranscriptConfig, given: Any) -> Dataset:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(samples, text), ...],"
                " 'test': [...]}"
            )
        return in_memory(given, config.rate)
    if config.data == KEYS:
        return _keys()
    if config.data == DIGITS:
        return _digits(config.data_dir)
    path = Path(config.data).expanduser()
    if is_path(config.data) or path.is_dir():
        if not path.is_dir():
            raise InputError(f"data '{config.data}' is no folder; expected one of sounds and texts")
        return open_folder(path)
    return open_tfds_speech(config.data, config.data_dir, (KEYS, DIGITS))
