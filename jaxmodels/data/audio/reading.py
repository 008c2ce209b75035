"""Sounds of files as samples: decoded, mixed to one channel, at one rate, as 16 bits."""

import io
import math
import re
import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from jaxmodels.data.dataset import BadRecord

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".sph")
Samples = Int[np.ndarray, "_"]  # int16, one channel
_FULL = 32768.0


class Sound(NamedTuple):
    """Samples of one channel, with their rate in samples a second."""

    samples: Samples
    rate: int


def decode_sound(encoded: bytes, rate: int = 0) -> Sound:
    """Decodes a file of a kind that libsndfile reads (wav, flac, ogg, mp3, sph, ...), averages its
    channels, and brings it to a rate; 0: its own.

    Raises:
      BadRecord: it is empty, cannot be decoded, or has samples that are not finite.
    """
    import soundfile

    if not encoded:
        raise BadRecord("is empty", "empty")
    try:
        # 16 bits stay what they are; a float in between would round some of them by one.
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            kind = "int16" if file.subtype in ("PCM_16", "PCM_S8", "PCM_U8") else "float32"
            samples, own = file.read(dtype=kind, always_2d=True), int(file.samplerate)
            declared = file.frames if file.format == "FLAC" else len(samples)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".").rpartition(": ")[2]
        raise BadRecord(f"cannot be decoded: {reason}", "undecodable") from None
    if len(samples) < declared or (missing := _missing_bytes(encoded)):
        told = f"{missing:,} bytes" if len(samples) == declared else "its end"
        raise BadRecord(f"is cut: it lacks {told}", "cut")
    return resampled(Sound(mono(samples), own), rate or own)


def _missing_bytes(encoded: bytes) -> int:
    """Counts the bytes that the head of a WAV or NIST Sphere file promises and that are not there,
    since libsndfile reads what is left of a file without a word."""
    if encoded[:7] == b"NIST_1A":
        return _missing_of_sphere(encoded)
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        return 0
    (size,) = struct.unpack_from("<I", encoded, 4)
    # Programs that write into a pipe cannot know the size and write the largest.
    return 0 if size >= 0xFFFFFF00 else max(0, size + 8 - len(encoded))


def _missing_of_sphere(encoded: bytes) -> int:
    """Counts the missing bytes of a NIST Sphere file, whose head is of text: its own size in the
    second line, then a field a line."""
    fields = dict(re.findall(rb"^(\w+) -i (\d+)\s*$", encoded[:1024], re.MULTILINE))
    sizes = (b"sample_count", b"sample_n_bytes", b"channel_count")
    promised = math.prod(int(fields.get(name, b"1")) for name in sizes)
    head = re.match(rb"NIST_1A\s+(\d+)", encoded)
    if b"sample_count" not in fields or head is None:
        return 0
    return max(0, int(head.group(1)) + promised - len(encoded))


def mono(samples: Num[np.ndarray, "samples channels"]) -> Samples:
    """Averages channels, and rounds to 16 bits; floats are of -1..1, and larger ones are clipped.

    Raises:
      BadRecord: samples that are not finite.
    """
    if samples.dtype == np.int16 and samples.shape[1] == 1:
        return samples[:, 0]
    if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
        raise BadRecord("has samples that are not finite", "non-finite")
    scale = 1.0 if samples.dtype == np.int16 else _FULL
    return as_int16(samples.astype(np.float64).mean(1) * scale)


def resampled(sound: Sound, rate: int) -> Sound:
    """Brings a sound to another rate, by soxr in its high quality."""
    if sound.rate == rate:
        return sound
    import soxr

    values = sound.samples.astype(np.float64)
    return Sound(as_int16(soxr.resample(values, sound.rate, rate, quality="HQ")), rate)


def as_int16(samples: Float[np.ndarray, " samples"]) -> Samples:
    """Rounds samples in units of 16 bits, and clips what is louder."""
    return np.clip(np.rint(samples), -_FULL, _FULL - 1).astype(np.int16)


def encode_wav(samples: Int[np.ndarray, " samples"] | Float[np.ndarray, " samples"], rate: int):
    """Writes samples, int16 or floats of -1..1, as the bytes of a WAV file of 16 bits."""
    import soundfile

    if not np.issubdtype(samples.dtype, np.integer):
        samples = as_int16(np.asarray(samples, np.float64) * _FULL)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
