"""Sounds with the texts that they say and their voices, as sources of batches."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.audio import SoundData
from jaxmodels.data.audio.sound_data import SoundDecoder
from jaxmodels.data.dataset import Draw, Record, Records
from jaxmodels.data.resident import Resident
from jaxmodels.data.streamed import Streamed


class Said(NamedTuple):
    """What the sounds of a split say, and how it is read.

    tokens: of the text of each class. voices: the number of each sound's. streamed: whether sounds
    are decoded while the device works, by so many `workers`.
    """

    tokens: Int[np.ndarray, "class unit"]
    voices: Int[np.ndarray, " sound"]
    streamed: bool = False
    workers: int = 0


def spoken_source(data: SoundData, split: str, said: Said) -> Resident | Streamed:
    """Makes the source of a split's batches {"sound", "length", "tokens", "speaker"}."""
    records = data.records(split)
    if said.streamed:
        spec = {name: like for name, like in data.spec.items() if name != "label"}
        spec["tokens"] = jax.ShapeDtypeStruct(said.tokens.shape[1:], said.tokens.dtype)
        spec["speaker"] = jax.ShapeDtypeStruct((), said.voices.dtype)
        decoder = _Decoder(data.decoder, said.tokens)
        return Streamed(_WithVoices(records, said.voices), decoder, spec, said.workers)
    columns = dict(data.columns(split))
    columns["tokens"] = said.tokens[columns.pop("label")]
    columns["speaker"] = said.voices
    return Resident(columns, records.key)


class _WithVoices:
    """`Records` of sounds with the number of the "voice" of each."""

    def __init__(self, records: Records, voices: Int[np.ndarray, " sound"]):
        self._records, self._voices, self.key = records, voices, records.key

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads these records."""
        voices = self._voices[list(rows)]
        return [
            {**record, "voice": voice} for record, voice in zip(self._records.read(rows), voices)
        ]


class _Decoder(NamedTuple):
    """Makes the columns of a record; tokens: of the text of each class."""

    sounds: SoundDecoder
    tokens: Int[np.ndarray, "class unit"]

    def __call__(self, record: Record, draw: Draw | None) -> dict[str, Any]:
        columns = self.sounds(record, draw)
        tokens = self.tokens[columns.pop("label")]
        return {**columns, "tokens": tokens, "speaker": record["voice"]}
