"""Train a tagger of words: named entities, by tags O, B-KIND and I-KIND.

    python -m experiments.token_classification                            # generated notes
    python -m experiments.token_classification --data notes.jsonl         # "tokens", "tags"
    python -m experiments.token_classification --data conll --model lstm  # train.conll, test.conll
    python -m experiments.token_classification --init-from DIR            # BERT, fine-tuned
    python -m experiments.token_classification --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl
    python -m experiments.token_classification --init-from DIR --mode predict --input new.txt \\
        --output new.jsonl                                                # a tagger as published

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores by kind of entity), checkpoints/ and samples/ (sentences with wrong tags).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp

from experiments.exports.classifier import text_programs
from experiments.exports.common import Exports
from experiments.presets.token_classification import PRESETS
from experiments.reports.token_classification import SCORES, prediction_line, report
from experiments.sentiment import prepare
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.data.tagged import (
    NONE,
    TaggedConfig,
    TaggedData,
    load_tagged,
    read_words,
    tagged_elsewhere,
)
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.models import bert_names
from jaxmodels.models.options import sharding_of
from jaxmodels.models.taggers import TaggerModels
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.tagging import Tagging
from jaxmodels.pretrained.saving import save
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Source
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Elsewhere,
    Experiment,
    ModelSection,
    Prediction,
    RunConfig,
    Section,
    main,
    require_range,
)


@dataclass(frozen=True, kw_only=True)
class TokenClassificationConfig(Config):
    """Train, resume and evaluate a tagger of words, and predict with it."""

    experiment: ClassVar[str] = "token_classification"

    run: Section[RunConfig] = RunConfig(steps=400, batch_size=64, eval_every=100, log_every=50)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[TaggedConfig] = TaggedConfig()
    model: ModelSection[TaggerModels] = TaggerModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        schedule="warmup_cosine",
        warmup_steps=40,
    )

    dropout: float = 0.1
    """Share of numbers left out in training."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("ema", "dropout"), 0, 1)

    def refused_modes(self) -> Mapping[str, str]:
        if self.data.data != NONE:
            return {}
        reason = f"data = {NONE} has no sentences: name others, --data NAME"
        return dict.fromkeys(("train", "evaluate"), reason)

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        if not bert_names.is_published(weights):
            raise InputError(f"{weights.path} holds weights of another model than bert")
        flags = bert_names.flags_from_published(weights)
        tokenizer = keep_tokenizer(weights.path)
        return flags if tokenizer is None else {**flags, "tokenizer": tokenizer}

    @classmethod
    def flags_of_weights_alone(cls, weights: Weights) -> dict[str, Any]:
        named: Mapping[str, str] = weights.config.get("id2label") or {}
        tags = tuple(str(named.get(str(number))) for number in range(len(named)))
        none = {"validation_fraction": 0.0, "test_fraction": 0.0, "batch_size": 1}
        return {"data": NONE, "tag_names": tags, **none}


def build(config: TokenClassificationConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sentences that it names or on those in memory:
    {"train": [(words, tags), ...], "test": [...]}."""
    data = load_tagged(config.data, data, config.model.positions)
    sources = {split: data.source(split) for split in data.sizes}
    dtype = jnp.dtype(config.compute.precision)
    tagger = Tagging(
        model=config.model.create(len(data.tags), data.tokenizer.size, dtype),
        outputs=len(data.tags),
        optimizer=config.optimizer,
        steps=config.run.steps,
        dropout=config.dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
        input_name="text",
    )
    predict = prepared(tagger.tags, prepare)
    programs = text_programs(tagger, prepare, sources[TRAIN], data.tags, data.tokenizer)
    return Experiment(
        objective=with_preprocessing(tagger, prepare),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="f1",
        scores=SCORES,
        facts={"data": data.facts()},
        sharding=sharding_of(tagger.model),
        tokens=data.length,
        after_evaluation=partial(report, data, predict),
        prediction=Prediction(
            read=partial(read_words, data=data),
            predict=predict,
            write=partial(prediction_line, data.tags),
        ),
        elsewhere=partial(elsewhere, data, predict),
        introduction=data.summary(),
        metadata=data.metadata(),
        **_published(config, data, tagger, programs),
    )


def _published(
    config: TokenClassificationConfig, data: TaggedData, tagger: Tagging, programs: Exports
) -> dict[str, Any]:
    """Makes the table of published names of an experiment, and its exports."""
    if config.model.model != "bert":
        return {"exports": programs}
    table = bert_names.published(config.model.bert, tagger=True)

    def export(state, folder):
        rows = config.model.bert.token_rows or data.tokenizer.size
        theirs = bert_names.published_config(config.model.bert, rows, data.tags, tagger=True)
        tree = {"params": tagger.learned(state)["params"]}
        save(folder, tree, table, theirs, beside=getattr(data.tokenizer, "save", None))

    return {
        "published": partial(bert_names.for_labels, table, classes=data.tags),
        "exports": {"safetensors": export, **programs},
    }


def elsewhere(data: TaggedData, predict: Any, config: TokenClassificationConfig) -> Elsewhere:
    """Opens the sentences that a config names, to evaluate a run of `data` on."""
    other = tagged_elsewhere(data, config.data)
    sources: dict[str, Source] = {split: other.source(split) for split in other.sizes}
    after = partial(report, other, predict)
    return Elsewhere(other.name, other.fingerprint, sources, after)


if __name__ == "__main__":
    sys.exit(main(TokenClassificationConfig, build, PRESETS))
