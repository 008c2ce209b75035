"""Sounds as data: of files, tfds and memory; checked, divided, at one rate and length."""

from jaxmodels.data.audio.loading import (
    AudioConfig,
    is_streamed,
    load_sounds,
    sounds_elsewhere,
    speakers_of,
)
from jaxmodels.data.audio.reading import decode_sound, encode_wav
from jaxmodels.data.audio.sound_data import AbsentSounds, SoundData, read_sounds

__all__ = [
    "AbsentSounds",
    "AudioConfig",
    "SoundData",
    "decode_sound",
    "encode_wav",
    "is_streamed",
    "load_sounds",
    "read_sounds",
    "sounds_elsewhere",
    "speakers_of",
]
