"""Sounds that --mode predict writes, beside the file of its lines."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.audio import encode_wav
from jaxmodels.files import write_atomically


class SoundWriter:
    """Writes sounds beside the file of predictions, NAME-1.wav and so on; its lines name them.

    output: the file of predictions; None: lines have the samples.
    """

    def __init__(self, output: str | None, rate: int):
        self._stem = Path(output).with_suffix("") if output else None
        self._rate, self._count = rate, 0

    def __call__(self, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
        """Writes "sound", of which the first "length" samples count; returns its line, or the error
        of one that is not finite."""
        sound = np.asarray(outputs["sound"])[: int(outputs["length"])]
        if not np.isfinite(sound).all():
            return {"error": "the sound that the model makes is not finite"}
        content = encode_wav(sound, self._rate)
        if self._stem is None:
            return {"seconds": len(sound) / self._rate, "samples": sound.tolist()}
        self._count += 1
        path = self._stem.with_name(f"{self._stem.name}-{self._count}.wav")
        write_atomically(path, lambda file: file.write(content))
        return {"audio": path.name, "seconds": len(sound) / self._rate}
