"""Presets of experiments.speech_commands. Those of spoken digits need --data-dir."""

from jaxmodels.train import Preset

_DIGITS = {
    "data": "free_spoken_digits",
    "seconds": 0.8,
    "scale": 1.5,
    "dropout": 0.1,
    "speed": 0.1,
    "shift": 0.1,
    "gain": 10.0,
    "noise": 0.3,
    # Half of the words last 0.43 s, so wider masks would hide most of a word.
    "time_masks": (1, 10),
    "band_masks": (1, 5),
    "batch_size": 64,
    "log_every": 100,
}

PRESETS = {
    "fsdd": Preset(
        flags={**_DIGITS, "validation_fraction": 0.0, "steps": 2000, "eval_every": 500},
        source="free-spoken-digit-dataset, its authors' split: recordings 0 to 4 of each"
        " speaker and digit to test with",
        expected="99.7% of the 300 test recordings (seed 0)",
        cost="6 minutes of 2 cores",
        command="--data-dir DIR",
    ),
    "fsdd-speakers": Preset(
        flags={
            **_DIGITS,
            "folds": "speakers",
            "validation_fraction": 0.0,
            "steps": 2000,
            "eval_every": 2000,
        },
        source="free-spoken-digit-dataset, one speaker left out of six",
        expected="not yet measured",
        cost="not yet measured",
        command="--data-dir DIR",
    ),
}
