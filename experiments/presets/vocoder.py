"""Presets of experiments.vocoder. That of spoken digits needs --data-dir."""

from jaxmodels.train import Preset

PRESETS = {
    "fsdd": Preset(
        flags={
            "data": "free_spoken_digits",
            "seconds": 0.8,
            "validation_fraction": 0.0,
            "width": 256,
            "depth": 6,
            "steps": 5000,
            "eval_every": 2500,
            "learning_rate": 5e-4,
        },
        source="free-spoken-digit-dataset, for experiments.speech_synthesis --preset fsdd; network"
        " and losses as Vocos (Siuzdak 2023), smaller",
        expected="not yet measured",
        cost="not yet measured",
        command="--data-dir DIR",
    ),
}
