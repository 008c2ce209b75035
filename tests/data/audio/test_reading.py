"""Sounds of files: each kind, channels, rates, and what is broken."""

import io

import numpy as np
import pytest
import soundfile

from jaxmodels.data.audio.reading import Sound, decode_sound, encode_wav, resampled
from jaxmodels.data.dataset import BadRecord


def tone(rate=8000, frequency=440, seconds=0.5):
    samples = np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)
    return (samples * 12_000).astype(np.int16)


def encoded(samples, rate=8000, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "NIST"])
def test_lossless_files_have_the_same_samples(kind):
    found = decode_sound(encoded(tone(), kind=kind))
    assert found.rate == 8000 and found.samples.dtype == np.int16
    np.testing.assert_array_equal(found.samples, tone())


@pytest.mark.parametrize(("kind", "rate"), [("OGG", 8000), ("MP3", 16_000)])
def test_compressed_files_sound_alike(kind, rate):
    found = decode_sound(encoded(tone(rate), rate, kind))
    spectrum = np.abs(np.fft.rfft(found.samples[: rate // 4].astype(float)))
    assert found.rate == rate and spectrum.argmax() == 110


def test_what_was_written_is_read():
    np.testing.assert_array_equal(decode_sound(encode_wav(tone(), 8000)).samples, tone())
    floats = tone().astype(np.float32) / 32768
    np.testing.assert_array_equal(decode_sound(encode_wav(floats, 8000)).samples, tone())


def test_channels_are_averaged_and_loud_floats_clipped():
    both = np.stack([tone(), -tone() + 2], 1)
    np.testing.assert_array_equal(decode_sound(encoded(both)).samples, 1)
    loud = encoded(np.full(100, 3.0), subtype="FLOAT")
    assert decode_sound(loud).samples.tolist() == [32767] * 100


@pytest.mark.parametrize("rate", [4000, 16_000, 11_025])
def test_another_rate_keeps_the_tone(rate):
    found = resampled(Sound(tone(seconds=1), 8000), rate)
    assert found.rate == rate and abs(len(found.samples) - rate) <= 1
    spectrum = np.abs(np.fft.rfft(found.samples.astype(float)))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"no sound at all", "cannot be decoded: Format not recognised"),
        (encoded(tone())[:30], "cannot be decoded"),
        (encoded(tone(), kind="NIST")[:-100], "is cut: it lacks 100 bytes"),
        (encoded(np.array([0, np.nan]), subtype="FLOAT"), "not finite"),
    ],
    # Such a file holds the time of its writing.
    ids=["empty", "text", "cut", "cut sphere", "not a number"],
)
def test_broken_files_say_why(content, reason):
    with pytest.raises(BadRecord, match=reason):
        decode_sound(content)
