"""Presets of experiments.language_model."""

from jaxmodels.train import Preset

# One rate for all parameters.
_ADAMW = {"optimizer": "adamw", "embedding_rate": 1.0, "head_rate": 1.0, "vector_rate": 1.0}
_SHAKESPEARE = {"data": "tiny_shakespeare", "tokenizer": "chars", "dropout": 0.0}
_NANOGPT = (
    _SHAKESPEARE
    | _ADAMW
    | {
        "learning_rate": 1e-3,
        "schedule": "warmup_cosine",
        "warmup_steps": 100,
        "final_rate": 0.1,
        "second_momentum": 0.99,
        "weight_decay": 0.1,
        "clip": 1.0,
    }
)
_GPT2 = {"model": "gpt2", "bias": False}
_CPU = {"context": 64, "batch_size": 12, "steps": 2000, "eval_every": 500, "log_every": 100}
_NOT_YET = "not yet measured"
_GPU = "not yet measured on a GPU"

PRESETS = {
    "shakespeare-cpu": Preset(
        flags=_NANOGPT | _CPU | _GPT2 | {"layers": 4, "width": 128, "heads": 4},
        source="nanoGPT's README, the setting for a CPU",
        expected="nanoGPT says 1.88 nats on random windows of the last tenth of the text, whose"
        " halves are validation and test here",
        cost="two to three minutes on two CPU cores",
        command="--data-dir DIR",
    ),
    "shakespeare-gpt": Preset(
        flags=_SHAKESPEARE | _CPU | {"depth": 4, "width": 128, "head_size": 64},
        source="the setting of shakespeare-cpu with the model and optimizer of today",
        expected="below 1.80 nats",
        cost="two to four minutes on two CPU cores",
        command="--data-dir DIR",
    ),
    "shakespeare-gpu": Preset(
        flags=_NANOGPT
        | _GPT2
        | {"layers": 6, "width": 384, "heads": 6, "context": 256, "batch_size": 64}
        | {"steps": 5000, "dropout": 0.2, "eval_every": 250, "log_every": 50},
        source="nanoGPT's config/train_shakespeare_char.py",
        expected="nanoGPT says 1.4697 at its best evaluation",
        cost="nanoGPT says three minutes on an A100; " + _GPU,
        command="--data-dir DIR",
    ),
    "wikitext2-cpu": Preset(
        flags={
            "data": "wikitext2",
            "tokenizer": "words",
            "depth": 4,
            "width": 256,
            "head_size": 64,
            "value_embeddings": False,
            "tied": True,
            "dropout": 0.1,
            "context": 128,
            "stride": 64,
            "steps": 2400,
            "clip": 1.0,
            "eval_every": 600,
            "log_every": 50,
        },
        source="Merity et al. 2017 (the data and its words); sizes for an hour of a CPU",
        expected="perplexity per word of 89.8 on the test split (seed 0)",
        cost="67 minutes of one core",
        command="--data-dir DIR",
    ),
    "wikitext2-gpu": Preset(
        flags=_ADAMW
        | {
            "data": "wikitext2",
            "tokenizer": "words",
            "model": "gpt",
            "depth": 8,
            "width": 512,
            "head_size": 64,
            "value_embeddings": False,
            "tied": True,
            "dropout": 0.4,
            "context": 256,
            "stride": 32,
            "batch_size": 32,
            "steps": 20_000,
            "learning_rate": 1e-3,
            "schedule": "warmup_cosine",
            "warmup_steps": 500,
            "weight_decay": 0.3,
            "clip": 1.0,
            "ema": 0.999,
            "precision": "bfloat16",
            "eval_every": 1000,
            "log_every": 100,
        },
        source="Merity et al. 2018 (AWD-LSTM) is what it is to reach: 65.8 on the test split",
        expected=_GPU,
        cost=_GPU,
        command="--data-dir DIR",
    ),
    "gpt2-small": Preset(
        flags=_ADAMW
        | {
            "model": "gpt2",
            "variant": "small",
            "tokenizer": "bpe",
            "vocabulary": 50257,
            "dropout": 0.0,
            "context": 1024,
            "batch_size": 512,
            "accumulate": 16,
            "precision": "bfloat16",
            "steps": 19_000,
            "learning_rate": 6e-4,
            "schedule": "warmup_cosine",
            "warmup_steps": 700,
            "second_momentum": 0.95,
            "weight_decay": 0.1,
            "clip": 1.0,
            "eval_every": 500,
            "log_every": 20,
        },
        source="Radford et al. 2019 (the model); llm.c (the recipe: 10 billion tokens of FineWeb)",
        expected="llm.c says 3.28 nats on FineWeb; on your data " + _NOT_YET,
        cost="llm.c says 90 minutes on 8 H100; " + _GPU,
        command="--data DATA --data-dir DIR",
    ),
}
