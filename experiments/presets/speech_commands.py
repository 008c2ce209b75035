"""Presets of experiments.speech_commands. Those of spoken digits need --data-dir."""

from jaxmodels.train import Preset

_DIGITS = {
    "data": "free_spoken_digits",
    "seconds": 1.0,
    "scale": 2.0,
    "dropout": 0.1,
    "speed": 0.15,
    "shift": 0.2,
    "gain": 10.0,
    "noise": 0.5,
    "time_masks": (2, 20),
    "band_masks": (2, 7),
    "batch_size": 64,
    "log_every": 100,
}

PRESETS = {
    "fsdd": Preset(
        flags={**_DIGITS, "validation_fraction": 0.0, "steps": 3000, "eval_every": 1000},
        source="free-spoken-digit-dataset, its authors' split: recordings 0 to 4 of each"
        " speaker and digit to test with",
        expected="not yet measured",
        cost="not yet measured",
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
