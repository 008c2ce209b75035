"""Presets of experiments.translation. Those of Tatoeba need --data-dir, with tatoeba_translate in
it."""

from jaxmodels.train import Preset

_TATOEBA = {
    "data": "tatoeba_translate",
    "drop_shared": True,
    "vocabulary": 8000,
    "width": 256,
    "heads": 4,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "hidden": 1024,
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "steps": 9000,
    "batch_size": 32,
    "eval_every": 1500,
    "checkpoint_every": 1500,
    "log_every": 100,
    "learning_rate": 2e-3,
    "warmup_steps": 600,
    "beams": 5,
}

PRESETS = {
    "tatoeba-de-en": Preset(
        flags={**_TATOEBA, "pair": "de-en"},
        source="164,772 sentence pairs of Tatoeba; a transformer of half the width and depth of"
        " Vaswani et al. 2017, normalised first",
        expected="BLEU 44.5 on the 2,577 test pairs (seed 0; joeynmt in the same hour: 20.4)",
        cost="56 minutes of one core",
        command="--data-dir DIR",
    ),
    "tatoeba-en-de": Preset(
        flags={**_TATOEBA, "pair": "en-de"},
        source="the same in the other direction",
        expected="not yet measured",
        cost="not yet measured",
        command="--data-dir DIR",
    ),
}
