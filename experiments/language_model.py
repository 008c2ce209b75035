"""Train a language model: predict each token of a text from those before it.

    python -m experiments.language_model                                  # Python's own help
    python -m experiments.language_model --data tiny_shakespeare --tokenizer chars
    python -m experiments.language_model --data ./books --tokenizer bpe --depth 8 --steps 20000
    python -m experiments.language_model --preset gpt2-small --data DATA  # 124M parameters
    python -m experiments.language_model --workdir RUN --mode sample --prompt "The list"
    python -m experiments.language_model --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl                                                # nats of each line

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores and their protocol), checkpoints/ and samples/ (texts that the model writes over training).
"""

import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax.numpy as jnp

from experiments.presets.language_model import PRESETS
from jaxmodels.data.text import TextConfig, TextData, load_text
from jaxmodels.data.text.lines import read_text_lines
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Objective, Score
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Evaluation,
    Experiment,
    Findings,
    ModelSection,
    Prediction,
    RunConfig,
    Section,
    main,
    require_range,
)

SCORES = {
    "bits_per_byte": Score(
        "lower",
        "bits per byte",
        "Bits of all tokens over the bytes of the text, whatever they are.",
    ),
    "perplexity": Score(
        "lower", "", "Exponential of the nats per word, or per token: see evaluation."
    ),
}
_LARGEST_EXPONENT = 700  # of a number of 64 bits


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(Config):
    """Train, resume and evaluate a language model, write with it and score text."""

    experiment: ClassVar[str] = "language_model"

    run: Section[RunConfig] = RunConfig(
        steps=1000, batch_size=16, eval_every=250, eval_batch_size=64, log_every=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[TextConfig] = TextConfig()
    model: ModelSection[LanguageModels] = LanguageModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(optimizer="adamw", learning_rate=3e-3)

    within_documents: bool = False
    """Attention stays inside of a document; otherwise tokens see those of the document before."""
    dropout: float = 0.0
    """Share of numbers left out in training."""
    z_loss: float = 0.0
    """Weight of the squared logarithm of the softmax's normaliser in what is minimised."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "ema"), 0, 1)
        require_range(self, ("z_loss",))


def build(config: LanguageModelConfig, data: TextData | None = None) -> Experiment:
    """Makes the experiment of a config, on the given text or on the text that the config names."""
    data = load_text(config.data, data)
    objective = LanguageModel(
        model=config.model.create(
            data.tokenizer.size, config.data.context, jnp.dtype(config.compute.precision)
        ),
        optimizer=config.optimizer,
        steps=config.run.steps,
        z_loss=config.z_loss,
        dropout=config.dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
    )
    sources = {split: data.source(split, config.within_documents) for split in data.columns}
    train = sources.pop("train")
    return Experiment(
        objective=Objective.of(objective),
        train=train,
        evaluation=sources,
        monitor="loss",
        scores={**objective.scores, **SCORES},
        facts={"data": data.facts()},
        after_evaluation=partial(report, data),
        prediction=Prediction(
            read=partial(
                read_text_lines,
                tokenizer=data.tokenizer,
                context=data.context,
                stride=data.stride,
            ),
            predict=objective.predict_windows,
            write=lambda outputs: {"nats": float(outputs["nats"]), "bytes": int(outputs["bytes"])},
        ),
        introduction=_introduction(data),
    )


def report(data: TextData, evaluation: Evaluation) -> Findings:
    """Makes the scores that count bytes and words, and says what was counted."""
    counts, loss = data.counts[evaluation.split], evaluation.sums.loss
    nats, tokens = float(loss.total), int(loss.count)
    units, unit = (counts.words, "word") if data.defines_words else (tokens, "token")
    scores = {
        "bits_per_byte": nats / math.log(2) / counts.bytes,
        "perplexity": math.exp(min(nats / units, _LARGEST_EXPONENT)),
    }
    if evaluation.occasion == "due":
        return Findings(scores)
    protocol = {
        "tokens": tokens,
        "bytes": counts.bytes,
        "words": counts.words,
        "tokenizer": data.tokenizer.name,
        "context": data.context,
        "stride": data.stride,
        "least_context": data.context - data.stride + 1,
        "perplexity_per": unit,
    }
    record = {"step": evaluation.step, "scores": evaluation.scores | scores, "protocol": protocol}
    return Findings(scores, record)


def _introduction(data: TextData) -> str:
    """Says how much text there is, in what tokens."""
    sizes = [
        f"{split} {counts.bytes:,} bytes, {len(data.columns[split]):,} tokens"
        for split, counts in data.counts.items()
    ]
    return f"text: {'; '.join(sizes)}; vocabulary {data.tokenizer.size:,}"


if __name__ == "__main__":
    sys.exit(main(LanguageModelConfig, build, PRESETS))
