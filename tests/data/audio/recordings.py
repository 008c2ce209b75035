"""Small recordings for tests: two classes of tones in folders."""

import numpy as np

from jaxmodels.data.audio import encode_wav

RATE = 4000
CLASSES = {"high": 1200, "low": 300}  # Hz


def tone(frequency, seed=0, seconds=0.2, rate=RATE):
    """A tone with some noise, int16."""
    generator = np.random.default_rng(seed)
    places = np.arange(int(seconds * rate)) / rate
    sound = np.sin(2 * np.pi * frequency * places + generator.uniform(0, 6))
    return (8000 * sound + generator.normal(0, 500, len(sound))).astype(np.int16)


def write(path, samples, rate=RATE):
    """A file of these samples, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_wav(samples, rate))
    return path


def write_classes(folder, count=6, seed=0, **options):
    """CLASS/NUMBER.wav of each class."""
    for name, frequency in CLASSES.items():
        for number in range(count):
            write(folder / name / f"{number}.wav", tone(frequency, seed + number, **options))
    return folder
