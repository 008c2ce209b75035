"""The tones of telephone keys with noise, generated: the default data, which needs no download.

A key is two sine waves (ITU-T Q.23). As receivers must (Q.24), a listener has to tell keys apart
whose frequencies are off by up to 1.5 percent, whose waves differ in loudness by up to 6 dB, in
noise that is up to 10 dB louder than they are, beside a hum and a third tone that means nothing.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, ArrayRecords, Dataset

NAME, CLEAR = "tones", "clear_tones"
RATE = 8000  # samples a second
KEYS = "123A456B789C*0#D"
NAMES = tuple(sorted(KEYS))
_LOW, _HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)  # Hz of rows and columns
_SIZES = {TRAIN: 3200, VALIDATION: 400, TEST: 800}
_SAMPLES = 4000
_FADE = 40  # samples in which a tone rises and falls
_VERSION = "1"


def key_tone(
    key: str, samples: int, rate: int, draw: np.random.Generator | None = None
) -> Float[np.ndarray, " samples"]:
    """Makes the two waves of a key, of amplitude 1 together.

    draw: gives each wave another phase, frequency and loudness, in the limits of Q.24.
    """
    row, column = divmod(KEYS.index(key), 4)
    seconds, total = np.arange(samples) / rate, np.zeros(samples)
    for frequency in (_LOW[row], _HIGH[column]):
        drift, phase, level = (0.0, 0.0, 1.0)
        if draw is not None:
            drift, phase = draw.uniform(-0.015, 0.015), draw.uniform(0, 2 * np.pi)
            level = 10 ** (draw.uniform(-3, 3) / 20)
        total += level * np.sin(2 * np.pi * frequency * (1 + drift) * seconds + phase)
    fade = np.minimum(1, np.minimum(np.arange(samples) + 1, np.arange(samples)[::-1] + 1) / _FADE)
    return total * fade / 2


def nearly_clear(
    sound: Float[np.ndarray, " samples"], draw: np.random.Generator
) -> Int[np.ndarray, " samples"]:
    """Adds noise that is 30 to 50 dB softer to a sound of amplitude 1."""
    noise = draw.normal(size=len(sound)) * 0.5 * 10 ** (draw.uniform(-50, -30) / 20)
    level = 10 ** (draw.uniform(-12, -6) / 20)
    return np.rint((sound + noise) * level * 32767 / 2).astype(np.int16)


def noisy(
    sound: Float[np.ndarray, " samples"], rate: int, draw: np.random.Generator
) -> Int[np.ndarray, " samples"]:
    """Adds noise, a hum and a tone that means nothing to a sound of amplitude 1."""
    seconds = np.arange(len(sound)) / rate
    noise = draw.normal(size=len(sound)) * 0.5 * 10 ** (draw.uniform(-20, 10) / 20)
    hum = 0.5 * draw.random() * np.sin(2 * np.pi * 50 * seconds + draw.uniform(0, 6))
    stray = np.sin(2 * np.pi * draw.uniform(300, 3400) * seconds)
    total = sound + noise + hum + 0.3 * draw.random() * stray
    level = 10 ** (draw.uniform(-26, -6) / 20) / max(1.0, np.abs(total).max())
    return np.rint(total * level * 32767).astype(np.int16)


def tones(name: str = NAME) -> Dataset:
    """Makes the data set: 4,400 sounds of at most half a second, the same number of each key, equal
    on every machine. "clear_tones" are little but the tones, from 0.15 s on."""
    draw, splits = np.random.default_rng(0), {}
    for split, size in _SIZES.items():
        labels = np.arange(size, dtype=np.int32) % len(NAMES)
        sounds = np.empty(size, object)
        for row, label in enumerate(labels.tolist()):
            if name == CLEAR:
                length = int(draw.integers(3 * RATE // 20, _SAMPLES))
                sounds[row] = nearly_clear(key_tone(NAMES[label], length, RATE, draw), draw)
                continue
            length = int(draw.integers(RATE // 20, _SAMPLES))
            sound = np.zeros(_SAMPLES)
            start = int(draw.integers(0, _SAMPLES - length + 1))
            sound[start : start + length] = key_tone(NAMES[label], length, RATE, draw)
            sounds[row] = noisy(sound, RATE, draw)
        splits[split] = ArrayRecords({"sound": sounds, "label": labels})
    return Dataset(name, _VERSION, f"{name}-{_VERSION}", splits, {"label": NAMES}, {"sound": RATE})
