"""What reports on made sounds share: sounds that play, and spectrograms beside those of others."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxmodels.data.audio import encode_wav
from jaxmodels.ops.spectral import Mel, log_mel
from jaxmodels.pictures import image_grid, in_pairs
from jaxmodels.train import Evaluation
from jaxmodels.train.evaluation import map_examples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOUD = 0.9  # of the loudest sample of a sound that plays

Sound = Float[np.ndarray, " samples"]


def recorded(evaluation: Evaluation, rows: Int[np.ndarray, " row"]) -> list[np.ndarray]:
    """Reads recordings of a split, as floats of -1..1."""
    columns = evaluation.examples(rows)
    return [
        np.asarray(row[:size], np.float32) / 32768
        for row, size in zip(columns["sound"], columns["length"].tolist())
    ]


def plays(sound: Sound, rate: int) -> bytes:
    """Encodes a sound, as loud as others that play."""
    return encode_wav(sound * (_LOUD / max(float(np.abs(sound).max(initial=0)), 1e-3)), rate)


def in_file_name(word: str) -> str:
    """Returns the letters of a word that may stand in the name of any file."""
    return re.sub(r"[^A-Za-z0-9._]+", "", word)


def spectrogram_grid(
    spectrograms: Float[np.ndarray, "sound frames bands"],
    titles: Sequence[str],
    columns: int,
    title: str,
) -> "Figure":
    """Draws spectrograms as grey pictures: time goes to the right, frequency up."""
    pictures = np.asarray(spectrograms).swapaxes(1, 2)[:, ::-1, :, None]
    # Silence, which is far below everything else, would take all greys but a few.
    limits = float(np.percentile(pictures, 5)), float(pictures.max())
    return image_grid(pictures, titles, columns=columns, limits=limits, title=title)


def drawn(made: Sequence[Sound], others: Sequence[Sound], mel: Mel, title: str) -> "Figure":
    """Draws spectrograms of made sounds, each over that of another."""
    longest = max(map(len, [*made, *others]))
    pictures = []

    def spectrograms(state, batch, key):
        return log_mel(batch["sound"], mel)

    for some in (made, others):
        padded = np.stack([np.pad(sound, (0, longest - len(sound))) for sound in some])
        values = map_examples(spectrograms, {}, {"sound": padded}, len(padded))
        pictures.append(values.swapaxes(1, 2)[:, ::-1, :, None])
    columns = min(6, len(made))
    return image_grid(in_pairs(pictures[0], pictures[1], columns), columns=columns, title=title)
