"""Train a classifier of texts, or of pairs of texts.

    python -m experiments.sentiment                                       # generated opinions
    python -m experiments.sentiment --data sentence_polarity --data-dir DIR --model cnn
    python -m experiments.sentiment --data reviews.csv --model lstm       # columns text, label
    python -m experiments.sentiment --preset mr-bag --data-dir DIR        # ten folds
    python -m experiments.sentiment --preset mr-minilm --init-from DIR    # fine-tuned
    python -m experiments.sentiment --workdir RUN --mode predict --input new.txt --output new.jsonl

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores per class), checkpoints/ and samples/ (a confusion matrix, and the worst mistakes with their
text).
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.exports.classifier import text_programs
from experiments.exports.common import Exports
from experiments.parts.class_predictions import prediction_line
from experiments.parts.class_weights import CHOICES, class_weights_of
from experiments.presets.sentiment import PRESETS
from experiments.reports.sentiment import report
from jaxmodels.data.absent import Absent
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.data.sentences import (
    SentenceConfig,
    SentenceData,
    load_sentences,
    read_sentences,
    sentences_elsewhere,
)
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.errors import InputError, require_known
from jaxmodels.models import bert_names
from jaxmodels.models.bag import log_ratios
from jaxmodels.models.options import sharding_of
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.models.text_models import TextModels
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
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
class SentimentConfig(Config):
    """Train, resume and evaluate a classifier of texts, and predict with it."""

    experiment: ClassVar[str] = "sentiment"

    run: Section[RunConfig] = RunConfig(steps=400, batch_size=64, eval_every=100, log_every=50)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[SentenceConfig] = SentenceConfig()
    model: ModelSection[TextModels] = TextModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw", learning_rate=2e-3, weight_decay=0.01
    )

    dropout: float = 0.1
    """Share of numbers left out in training."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare classes count as much as common ones."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("label_smoothing", "ema", "dropout"), 0, 1)
        require_known("class_weights", self.class_weights, CHOICES)
        if self.data.folds and self.run.repeat > 1:
            raise InputError(
                f"repeat = {self.run.repeat} with folds = {self.data.folds}; expected one of them:"
                " other seeds of the folds by --seed N"
            )
        if self.model.model == "bag" and self.data.tokenizer not in ("", "pieces"):
            raise InputError(
                f"tokenizer = {self.data.tokenizer}; expected pieces with --model bag, whose texts"
                " have no order"
            )

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        if not bert_names.is_published(weights):
            raise InputError(f"{weights.path} holds weights of another model than bert")
        flags = bert_names.flags_from_published(weights)
        tokenizer = keep_tokenizer(weights.path)
        return flags if tokenizer is None else {**flags, "tokenizer": tokenizer}

    @property
    def several(self) -> dict[str, dict[str, Any]]:
        """The flags of the runs of all folds, where no fold is named."""
        if self.data.folds and self.data.fold is None:
            return {f"fold-{fold}": {"fold": fold} for fold in range(self.data.folds)}
        return super().several


def build(config: SentimentConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sentences that it names or on those in memory:
    {"train": [(text, label), ...], "test": [...]}, where an example may have two texts."""
    data = load_sentences(config.data, data, config.model.tokens)
    if len(data.class_names) < 2:
        raise InputError(f"data '{data.name}' has one class; a classifier needs two or more")
    sources = {split: data.source(split) for split in data.sizes}
    classes = len(data.class_names)
    classifier = Classifier(
        model=_model(config, data, sources[TRAIN]),
        classes=classes,
        optimizer=config.optimizer,
        steps=config.run.steps,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
        class_weights=class_weights_of(
            config.class_weights, data, lambda: data.splits[TRAIN].labels, len(data.class_names)
        ),
        input_name="text",
    )
    predict = prepared(classifier.predict, prepare)
    programs = text_programs(classifier, prepare, sources[TRAIN], data.class_names, data.tokenizer)
    return Experiment(
        objective=with_preprocessing(classifier, prepare),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="accuracy",
        scores=Classifier.scores,
        facts={"data": data.facts()},
        sharding=sharding_of(classifier.model),
        tokens=data.length,
        after_evaluation=partial(report, data, predict),
        prediction=Prediction(
            read=partial(read_sentences, data=data),
            predict=predict,
            write=partial(prediction_line, data.class_names),
        ),
        elsewhere=partial(elsewhere, data),
        introduction=data.summary(),
        metadata={**data.metadata(), "class_weights": list(classifier.class_weights)},
        **_published(config, data, classifier, programs),
    )


def _published(
    config: SentimentConfig, data: SentenceData, classifier: Classifier, programs: Exports
) -> dict[str, Any]:
    """Makes the table of published names of an experiment, and its exports."""
    if config.model.model != "bert":
        return {"exports": programs}
    names = partial(bert_names.published, config.model.bert)

    def export(state, folder):
        rows = config.model.bert.token_rows or data.tokenizer.size
        theirs = bert_names.published_config(config.model.bert, rows, data.class_names)
        tree = {"params": classifier.learned(state)["params"]}
        save(folder, tree, names(), theirs, beside=getattr(data.tokenizer, "save", None))

    return {"published": names, "exports": {"safetensors": export, **programs}}


def prepare(batch, key):
    """Joins the columns of texts."""
    others = {name: value for name, value in batch.items() if name not in TextInput._fields}
    return {**others, "text": TextInput(batch["tokens"], batch["segments"])}


def elsewhere(data: SentenceData, config: SentimentConfig) -> Elsewhere:
    """Opens the sentences that a config names, to evaluate a run of `data` on."""
    other = sentences_elsewhere(data, replace(config.data))
    sources: dict[str, Source] = {split: other.source(split) for split in other.sizes}
    return Elsewhere(other.name, other.fingerprint, sources)


def _model(config: SentimentConfig, data: SentenceData, train: Source) -> nn.Module:
    classes, dtype = len(data.class_names), jnp.dtype(config.compute.precision)
    ratios = None
    # The run's state has the ratios, where the sentences are absent.
    if config.model.model == "bag" and not isinstance(data, Absent):
        columns, smoothing = train.examples(np.arange(train.size)), config.model.bag.smoothing
        arrays = columns["tokens"], columns["label"], data.tokenizer.size, classes, smoothing
        ratios = log_ratios(*arrays)
    return config.model.create(classes, data.tokenizer.size, dtype, ratios)


if __name__ == "__main__":
    sys.exit(main(SentimentConfig, build, PRESETS))
