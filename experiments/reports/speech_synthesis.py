"""What experiments.speech_synthesis shows of an evaluation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from experiments.reports.sounds import drawn, in_file_name, plays, recorded
from jaxmodels.data.audio import SoundData
from jaxmodels.metrics.mel_cepstral_distortion import mel_cepstral_distortion
from jaxmodels.ops.spectral import Mel
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from experiments.parts.speech_judge import Judge
    from jaxmodels.train.experiment import PerBatch

SCORES = {
    "round_trip_wer": Score("lower", "", "Share of words that the judge hears as another one."),
    "mel_cepstral_distortion": Score(
        "lower", "dB", "Distance of the smooth spectra of synthesised and recorded, aligned."
    ),
}
_HEARD = 12  # sounds that play
_SHOWN = 12  # pairs of spectrograms


class Voices(NamedTuple):
    """The voices that can be asked for."""

    names: tuple[str, ...]
    speakers: tuple[str, ...]  # as the data call them; "": unknown

    def numbers(self, speakers: np.ndarray) -> Int[np.ndarray, " sound"]:
        """Returns the number of the voice of each sound."""
        known = [name.encode() for name in self.speakers]
        return np.array([known.index(name) for name in speakers.tolist()], np.int32)


def report(
    data: SoundData,
    words: Sequence[str],
    voices: Voices,
    mel: Mel,
    say: "PerBatch",
    judge: "Judge | None",
    sounded_by: Callable[[], dict[str, Any]],
    evaluation: Evaluation,
) -> Findings | None:
    """Synthesises every text of a split in its voice after the last evaluation, and shows what the
    judge hears, the distance from the recordings, sounds that play, and spectrograms.

    sounded_by: describes what makes sounds of spectrograms, for the record.
    """
    if evaluation.occasion == "due":
        return None
    split = evaluation.split
    labels, speakers = data.labels(split), data.known(split, "speaker")
    said = evaluation.map(say)
    made = [row[:size] for row, size in zip(said["sound"], said["length"].tolist())]
    finite = [bool(np.isfinite(sound).all()) for sound in made]
    # The judge hears no word in the others, which are silence for all else.
    sounds = [sound if good else np.zeros_like(sound) for sound, good in zip(made, finite)]
    originals = recorded(evaluation, np.arange(len(labels)))
    distances = [_distance(one, other, mel) for one, other in zip(sounds, originals)]
    record: dict[str, Any] = {"step": evaluation.step, **evaluation.scores, **sounded_by()}
    if not all(finite):
        record["not_finite"] = finite.count(False)
    scores = {}
    if judge is not None:
        wanted = [str(words[int(label)]) for label in labels]
        named = [speaker.decode() for speaker in speakers.tolist()]
        heard = _heard(judge, data, words, made, named)
        real = _heard(judge, data, words, originals, named)
        scores = {
            "round_trip_wer": word_errors(wanted, heard),
            "mel_cepstral_distortion": float(np.mean(distances)),
        }
        record |= scores
        record["judge"] = {**judge.record(), "wer_of_recordings": word_errors(wanted, real)}
        record["round_trip_wer_of_voices"] = {
            name: word_errors(
                [w for w, s in zip(wanted, speakers.tolist()) if s == speaker.encode()],
                [h for h, s in zip(heard, speakers.tolist()) if s == speaker.encode()],
            )
            for name, speaker in zip(voices.names, voices.speakers)
            if speaker.encode() in set(speakers.tolist())
        }
    chosen = _spread(labels, voices.numbers(speakers))
    return Findings(
        scores=scores,
        record=record,
        pictures={
            "spectrograms": partial(
                drawn,
                [sounds[row] for row in chosen[:_SHOWN].tolist()],
                [originals[row] for row in chosen[:_SHOWN].tolist()],
                mel,
                f"{split}: synthesised, each over a recording",
            )
        },
        sounds={
            _name(split, str(words[int(labels[row])]), voices, bytes(speakers[row])): plays(
                sounds[row], data.rate
            )
            for row in chosen[:_HEARD].tolist()
        },
    )


def word_errors(said: Sequence[str], heard: Sequence[str]) -> float:
    """Computes the word error rate."""
    import jiwer

    return float(jiwer.wer(list(said), list(heard)))


def _heard(judge: "Judge", data: SoundData, words, sounds, speakers) -> list[str]:
    names = judge.hear([np.asarray(sound, np.float32) for sound in sounds], speakers)
    return [words[data.class_names.index(name)] if name else "" for name in names]


def _distance(one: np.ndarray, other: np.ndarray, mel: Mel) -> float:
    return mel_cepstral_distortion(_log_powers(one, mel), _log_powers(other, mel))


def _log_powers(sound: np.ndarray, mel: Mel) -> Float[np.ndarray, "frames bands"]:
    """Computes a spectrogram on the host, since each sound has a length of its own."""
    half = mel.transform.samples // 2
    padded = np.pad(sound.astype(np.float64), (half, half))
    windows = np.lib.stride_tricks.sliding_window_view(padded, mel.transform.samples)[:: mel.hop]
    spectrum = np.fft.rfft(windows * mel.transform.weights())
    return np.log(np.abs(spectrum) ** 2 @ mel.filters() + mel.floor)


def _spread(labels, speakers) -> Int[np.ndarray, " row"]:
    """Chooses one sound of each class, of as many voices as possible."""
    rows = []
    for number, label in enumerate(np.unique(labels)):
        own = np.flatnonzero(labels == label)
        known = np.unique(speakers[own])
        rows.append(own[speakers[own] == known[number % len(known)]][0])
    return np.array(rows)


def _name(split: str, word: str, voices: Voices, speaker: bytes) -> str:
    voice = voices.names[voices.speakers.index(speaker.decode())]
    return f"said-{split}-{in_file_name(word)}" + (f"-{voice}" if len(voices.names) > 1 else "")
