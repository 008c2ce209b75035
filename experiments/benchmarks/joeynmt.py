"""Trains joeynmt's transformer (Kreutzer et al. 2019) on the pairs and tokens of a preset of
experiments.translation, and scores what it writes as ours is scored.

    python -m experiments.benchmarks.joeynmt write --data-dir DIR --folder F
    OMP_NUM_THREADS=1 timeout --signal INT 3600 python -m joeynmt train F/config.yaml --skip-test
    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python -m joeynmt test F/config.yaml -o F/written
    python -m experiments.benchmarks.joeynmt score --data-dir DIR --folder F

The commands in the middle are of joeynmt 2.3 in an environment of its own, since it needs an older
protobuf than tfds. An interrupted training keeps its weights, in F/model/latest.ckpt. Its words are
the numbers of our tokens. The network and the batches are as large as ours, and so are the rate and
the warm-up; the rest is as in joeynmt's own configurations.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import yaml

from experiments.presets.translation import PRESETS
from jaxmodels.commands import exit_code_of
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.data.pairs import PairConfig, PairData, load_pairs
from jaxmodels.errors import RunError, require_known
from jaxmodels.metrics.translation import translation_scores

_FILES = {TRAIN: "train", VALIDATION: "dev", TEST: "test"}


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Write what joeynmt reads, or score what it wrote."""

    part: tyro.conf.Positional[str]
    """write or score."""
    folder: Path
    """Folder of the files."""
    preset: str = "tatoeba-de-en"
    """A preset of experiments.translation."""
    data_dir: str | None = None
    """Folder of tfds data sets; None: tfds's own default."""
    validate_every: int = 2000
    """Steps from one validation of joeynmt to the next."""


def configuration(config: PeerConfig, pair: tuple[str, str]) -> dict[str, Any]:
    """Makes joeynmt's configuration of a model and training like those of a preset."""
    flags = PRESETS[config.preset].flags
    folder = config.folder.absolute()

    def side(name: str) -> dict[str, Any]:
        limits = {"max_length": 1000, "voc_min_freq": 0}
        return {"lang": name, "level": "word", "voc_file": str(folder / "words.txt"), **limits}

    def stack(layers: int) -> dict[str, Any]:
        return {
            "type": "transformer",
            "num_layers": layers,
            "num_heads": flags["heads"],
            "embeddings": {"embedding_dim": flags["width"], "scale": True},
            "hidden_size": flags["width"],
            "ff_size": flags["hidden"],
            "dropout": flags["dropout"],
            "layer_norm": "pre",
        }

    return {
        "name": config.preset,
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "random_seed": 0,
        "data": {
            **{name: str(folder / name) for name in _FILES.values()},
            "dataset_type": "plain",
            "src": side(pair[0]),
            "trg": side(pair[1]),
        },
        "testing": {
            "beam_size": flags["beams"],
            "beam_alpha": 1.0,
            "batch_size": 1024,
            "batch_type": "token",
            "max_output_length": 100,
            "eval_metrics": [],
        },
        "training": {
            "optimizer": "adamw",
            "normalization": "tokens",
            "adam_betas": [0.9, 0.999],
            "scheduling": "warmupinversesquareroot",
            "learning_rate": flags["learning_rate"],
            "learning_rate_warmup": flags["warmup_steps"],
            "learning_rate_min": 1e-8,
            "weight_decay": 0.01,
            "clip_grad_norm": 1.0,
            "label_smoothing": flags["label_smoothing"],
            "batch_size": 2048,
            "batch_type": "token",
            "early_stopping_metric": "loss",
            "epochs": 1000,
            "validation_freq": config.validate_every,
            "logging_freq": 100,
            "keep_best_ckpts": 1,
            "overwrite": True,
            "shuffle": True,
            "print_valid_sents": [],
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "bias_initializer": "zeros",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack(flags["encoder_layers"]),
            "decoder": stack(flags["decoder_layers"]),
        },
    }


def write(config: PeerConfig, data: PairData) -> None:
    """Writes the tokens of all pairs as words, the list of words, and the configuration."""
    config.folder.mkdir(parents=True, exist_ok=True)
    source, target = data.pair.split("-")
    for split, name in _FILES.items():
        for side, texts in zip((source, target), data.texts(split)):
            lines = (" ".join(map(str, tokens)) for tokens in data.rows.read(texts))
            (config.folder / f"{name}.{side}").write_text("".join(f"{line}\n" for line in lines))
    words = "".join(f"{token}\n" for token in range(data.tokenizer.size))
    (config.folder / "words.txt").write_text(words)
    told = yaml.safe_dump(configuration(config, (source, target)), sort_keys=False)
    (config.folder / "config.yaml").write_text(told)
    count = sum(len(some.sources) for some in data.splits.values())
    print(f"{config.folder}: {count:,} pairs and config.yaml")


def written(data: PairData, path: Path) -> list[str]:
    """Reads what joeynmt wrote, as text.

    Raises:
      RunError: there is no such file; `python -m joeynmt test` writes it.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file; let joeynmt write it first")

    def text(words: Sequence[str]) -> str:
        return data.tokenizer.decode(np.array([int(word) for word in words if word.isdigit()]))

    return [text(line.split()) for line in path.read_text().splitlines()]


def score(config: PeerConfig, data: PairData) -> None:
    """Prints the scores of both evaluation splits."""
    for split in (VALIDATION, TEST):
        outputs = written(data, config.folder / f"written.{_FILES[split]}")
        found = translation_scores(outputs, [data.texts(split)[1]])
        print(
            f"{split}: BLEU {found.bleu:.2f}, chrF {found.chrf:.2f}, exact match"
            f" {found.exact_match:.4f} ({found.signatures['bleu']})"
        )


def main() -> int:
    """Runs a part; returns the exit code."""
    config = tyro.cli(PeerConfig)
    parts = {"write": write, "score": score}
    require_known("part", config.part, parts)
    require_known("preset", config.preset, PRESETS)
    named = PairConfig.__dataclass_fields__
    flags = PRESETS[config.preset].flags
    chosen = {name: value for name, value in flags.items() if name in named}
    parts[config.part](config, load_pairs(PairConfig(**chosen, data_dir=config.data_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
