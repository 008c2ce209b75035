"""Train a network on a table: regression, classification or several labels of each row.

    python -m experiments.table                                        # breast_cancer
    python -m experiments.table --data prices.csv --target price
    python -m experiments.table --data movies.parquet --target genres  # a column of lists
    python -m experiments.table --workdir RUN --mode predict --input new.csv --output new.jsonl

The run folder then holds config.json (with the statistics of each column), metrics.jsonl,
speed.jsonl, curves.png, evaluation.json (scores per class or label), checkpoints/ and samples/ (a
confusion matrix, or predictions against true values).
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp

from experiments.exports.classifier import classifier_programs
from experiments.exports.common import Exports
from experiments.exports.table import table_programs
from experiments.parts.class_weights import CHOICES, class_weights_of
from experiments.presets.table import PRESETS
from experiments.reports.table import Report, report_of, write_line
from jaxmodels.data.dataset import ALL, TRAIN, evaluation_splits
from jaxmodels.data.resident import Resident
from jaxmodels.data.tables import (
    TableData,
    TableDataConfig,
    load_table,
    read_rows,
    rows_elsewhere,
)
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.tables import TableModels
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.multilabel import MultiLabel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.regression import Regression, scores_in
from jaxmodels.protocol import Score
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

MONITORS = {"regression": "r2", "classification": "accuracy", "multilabel": "f1"}


@dataclass(frozen=True, kw_only=True)
class TableConfig(Config):
    """Train, resume and evaluate a network on a table, and predict with it."""

    experiment: ClassVar[str] = "table"

    run: Section[RunConfig] = RunConfig(steps=1000, batch_size=64, eval_every=100, log_every=50)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[TableDataConfig] = TableDataConfig()
    model: ModelSection[TableModels] = TableModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(optimizer="adamw", weight_decay=0.1)

    dropout: float = 0.3
    """Share of hidden units left out in training."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes (classification)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare classes count as much as common ones (classification)."""
    ema: float = 0.99
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("label_smoothing", "ema", "dropout"), 0, 1)
        require_known("class_weights", self.class_weights, CHOICES)


def build(config: TableConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the table that it names or on rows in memory: a list of
    mappings, a mapping of columns, or a data frame."""
    data = load_table(config.data, data)
    target = data.target
    _require_of_task(config, target.task)
    objective, scores = objective_of(config, data)

    def prepare(batch, key):
        seen = {"features": data.encoder.features(batch)}
        if "target" in batch:
            name = "label" if target.task == "classification" else "target"
            seen[name] = batch["target"]
        kept = {name: batch[name] for name in ("valid", "position") if name in batch}
        return seen | kept

    predict = prepared(objective.predict, prepare)
    return Experiment(
        objective=with_preprocessing(objective, prepare),
        train=data.source(TRAIN),
        evaluation={split: data.source(split) for split in evaluation_splits(data.sizes)},
        monitor=MONITORS[target.task],
        scores=scores,
        facts={"data": data.facts(), "columns": data.encoder.facts()},
        after_evaluation=report_of(Report(target, predict, data.target_counts())),
        prediction=Prediction(
            read=partial(read_rows, data=data), predict=predict, write=partial(write_line, target)
        ),
        elsewhere=partial(elsewhere, data),
        exports=_exports(objective, prepare, data),
        introduction=data.summary(),
        metadata={
            **data.metadata(),
            "class_weights": list(getattr(objective, "class_weights", ())),
        },
    )


def _exports(objective: Any, prepare: Any, data: TableData) -> Exports:
    """Exports the network; its inputs are encoded rows, which "columns" explains."""
    facts, train = {"columns": data.encoder.facts()}, data.source(TRAIN)
    if isinstance(objective, Classifier):
        return classifier_programs(objective, prepare, train, data.target.names, facts)
    return table_programs(objective, prepare, train, data.target, facts)


def objective_of(config: TableConfig, data: TableData) -> tuple[Any, dict[str, Score]]:
    """Makes the objective of a target, and declares its scores."""
    target = data.target
    outputs = max(1, len(target.names))
    shared = {
        "model": config.model.create(outputs, jnp.dtype(config.compute.precision)),
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "dropout": config.dropout,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
        "input_name": "features",
    }
    if target.task == "regression":
        return Regression(**shared, outputs=1, scale=target.std), dict(scores_in(target.column))
    if target.task == "multilabel":
        return MultiLabel(**shared, outputs=outputs), dict(MultiLabel.scores)
    weights = class_weights_of(
        config.class_weights, data, lambda: data.splits[TRAIN]["target"], outputs
    )
    smoothing = config.label_smoothing
    classifier = Classifier(
        **shared, classes=outputs, label_smoothing=smoothing, class_weights=weights
    )
    return classifier, dict(Classifier.scores)


def _require_of_task(config: TableConfig, task: str) -> None:
    """Requires flags that the task has.

    Raises:
      InputError: a flag that is for another task.
    """
    if task == "classification":
        return
    for name, unset in (("label_smoothing", 0.0), ("class_weights", "none")):
        if getattr(config, name) != unset:
            raise InputError(
                f"{name} = {getattr(config, name)}; it is for classification, and the target is to"
                f" {task}: leave it out, or give --task classification"
            )


def elsewhere(data: TableData, config: TableConfig) -> Elsewhere:
    """Opens the table that a config names, to evaluate a run of `data` on all of its rows."""
    name, fingerprint, columns = rows_elsewhere(data, replace(config.data))
    return Elsewhere(name, fingerprint, {ALL: Resident(columns)})


if __name__ == "__main__":
    sys.exit(main(TableConfig, build, PRESETS))
