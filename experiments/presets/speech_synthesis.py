"""Presets of experiments.speech_synthesis. That of spoken digits needs --data-dir."""

from jaxmodels.train import Preset

PRESETS = {
    "fsdd": Preset(
        flags={
            "data": "free_spoken_digits",
            "seconds": 0.8,
            "validation_fraction": 0.0,
            "width": 128,
            "depth": 6,
            "steps": 3000,
            "eval_every": 1000,
            "ema": 0.999,
            "judge_steps": 1500,
        },
        source="free-spoken-digit-dataset: ten words in six voices, 270 recordings of each word;"
        " the judge is experiments.speech_commands --preset fsdd-speakers, each of whose runs has"
        " left a speaker out",
        expected="not yet measured",
        cost="not yet measured",
        command="--judge RUN --data-dir DIR",
    ),
}
