"""Presets of experiments.speech_recognition."""

from jaxmodels.train import Preset

_DIGITS = {"data": "connected_digits"}
_NOT_YET = "not yet measured"

PRESETS = {
    "digits": Preset(
        flags=_DIGITS
        | {
            "model": "conformer",
            "steps": 1400,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "schedule": "warmup_cosine",
            "warmup_steps": 100,
            "dropout": 0.1,
            "ema": 0.995,
            "tempo": 0.1,
            "gain": 6.0,
            "noise": 0.5,
            "time_masks": (2, 12),
            "band_masks": (2, 6),
            "eval_every": 700,
            "log_every": 50,
        },
        source="strings of 3 to 7 of tfds's free_spoken_digits with random gaps; test clips apart",
        expected="word error rate 0.6% on test clips (seed 0); 1.5% after 500 of the steps",
        cost="13 minutes of two busy cores",
        command="--data-dir DIR",
    ),
    "digits-lstm": Preset(
        flags=_DIGITS
        | {
            "model": "lstm",
            "steps": 1400,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "schedule": "warmup_cosine",
            "warmup_steps": 100,
            "dropout": 0.1,
            "ema": 0.995,
            "tempo": 0.1,
            "gain": 6.0,
            "noise": 0.5,
            "time_masks": (2, 12),
            "band_masks": (2, 6),
            "eval_every": 700,
            "log_every": 50,
        },
        source="the same with LSTMs in both directions (Graves et al. 2013)",
        expected=_NOT_YET,
        cost=_NOT_YET,
        command="--data-dir DIR",
    ),
    "whisper-digits": Preset(
        flags={
            "data": "connected_digits",
            "model": "whisper",
            "rate": 16_000,
            "heard": 400,
            "steps": 400,
            "batch_size": 8,
            "learning_rate": 1e-4,
            "schedule": "warmup_cosine",
            "warmup_steps": 40,
            "weight_decay": 0.01,
            "ema": 0.99,
            "tempo": 0.1,
            "gain": 6.0,
            "noise": 0.3,
            "most_tokens": 24,
            "eval_every": 200,
            "log_every": 20,
        },
        source="Whisper tiny.en (Radford et al. 2023), fine-tuned on its first eight seconds",
        expected=_NOT_YET,
        cost=_NOT_YET,
        command="--init-from WHISPER --data-dir DIR",
    ),
}
