"""Presets of experiments.sentiment. Those of MR need --data-dir, with sentence_polarity in it."""

from jaxmodels.train import Preset

_FOLDS = {"data": "sentence_polarity", "folds": 10, "log_every": 100}
_NOT_MEASURED = "not yet measured over ten folds"

PRESETS = {
    "opinions-transformer": Preset(
        flags={
            "model": "transformer",
            "dropout": 0.0,
            "steps": 800,
            "eval_every": 200,
            "learning_rate": 5e-4,
            "schedule": "warmup_cosine",
            "warmup_steps": 100,
        },
        source="the generated opinions, by BERT's layers from scratch, which need a warm-up",
        expected="test accuracy of 0.992, where the LSTM has 1",
        cost="a minute on two CPU cores",
    ),
    "mr-bag": Preset(
        flags={
            **_FOLDS,
            "model": "bag",
            "validation_fraction": 0.0,
            "dropout": 0.0,
            "steps": 600,
            "batch_size": 256,
            "eval_every": 600,
            "learning_rate": 3e-3,
            "weight_decay": 0.1,
        },
        source="NBSVM (Wang & Manning 2012: 79.4 on MR), with pieces of words and softmax",
        expected="test accuracy of 81.0 ± 1.1 over ten folds, where NBSVM has 79.6 ± 1.2",
        cost="half a minute a fold on two CPU cores",
        command="--data-dir DIR",
    ),
    "mr-cnn": Preset(
        flags={
            **_FOLDS,
            "model": "cnn",
            "dropout": 0.5,
            "steps": 1000,
            "batch_size": 50,
            "eval_every": 100,
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
        },
        source="Kim 2014, CNN-rand: 76.1 on MR; AdamW in place of Adadelta with bounded norms",
        expected="test accuracy of 76.5 ± 2.0 over ten folds",
        cost="a minute and a half of one core a fold",
        command="--data-dir DIR",
    ),
    "mr-lstm": Preset(
        flags={
            **_FOLDS,
            "model": "lstm",
            "buckets": 4,
            "dropout": 0.5,
            "steps": 1000,
            "batch_size": 50,
            "eval_every": 100,
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
        },
        source="an LSTM in both directions with the maximum over its states (Conneau et al. 2017)",
        expected=_NOT_MEASURED,
        cost="not yet measured",
        command="--data-dir DIR",
    ),
    "mr-minilm": Preset(
        flags={
            **_FOLDS,
            "model": "bert",
            "pool": "mean",
            "validation_fraction": 0.0,
            "length": 64,
            "buckets": 4,
            "dropout": 0.1,
            "attention_dropout": False,
            "steps": 600,
            "batch_size": 32,
            "eval_every": 600,
            "learning_rate": 1e-4,
            "head_rate": 10.0,
            "schedule": "warmup_cosine",
            "warmup_steps": 60,
            "weight_decay": 0.01,
        },
        source="all-MiniLM-L6-v2 (Wang et al. 2020; Reimers & Gurevych 2019), fine-tuned for two"
        " passes over the training folds",
        expected=f"{_NOT_MEASURED}; fold 0 had 83.4 (84.4 in rows of one length; NBSVM: 78.9)",
        cost="four minutes a fold on two CPU cores",
        command="--init-from DIR --data-dir DIR",
    ),
}
