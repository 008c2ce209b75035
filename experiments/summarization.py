"""Train a summarizer: a document goes in, a sentence or two come out.

    python -m experiments.summarization                                   # generated reports
    python -m experiments.summarization --preset scitldr-copy --data-dir DIR
    python -m experiments.summarization --data news.jsonl                 # document, summary
    python -m experiments.summarization --preset scitldr-smollm2 --data-dir DIR \\
        --init-from SmolLM2.gguf                                          # with adapters
    python -m experiments.summarization --init-from t5-small --mode predict \\
        --input new.txt --output new.jsonl                                # T5, Marian as published
    python -m experiments.summarization --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl --beams 4                                      # a document a line

From scratch it learns an encoder and a decoder that can copy words of the document; it goes on with
published weights of an encoder and a decoder, or of a model of the next token. The run folder then
holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json (ROUGE beside that of the
first sentences, of an extractive classifier and of the best sentence), checkpoints/ and samples/
(summaries beside their references, the worst first).
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp

from experiments.exports.common import Exports
from experiments.exports.language_model import export_language_model
from experiments.exports.summarization import Summarizer, summary_programs
from experiments.exports.text_to_text import export_text_to_text
from experiments.parts.summary_writing import (
    SummaryWriting,
    published_prefix,
    published_writing,
)
from experiments.presets.summarization import PRESETS
from experiments.reports.summarization import SCORES, Shown, report
from jaxmodels.data.dataset import evaluation_splits
from jaxmodels.data.documents import DocumentConfig, DocumentData, load_documents
from jaxmodels.data.documents.document_data import DocumentReader
from jaxmodels.data.documents.loading import documents_elsewhere
from jaxmodels.data.documents.rows import CopyRows, PromptRows, Rows, SequenceRows
from jaxmodels.data.documents.words import END, PADDING, START, UNKNOWN
from jaxmodels.data.pairs.published import with_tokenizer
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.models.options import sharding_of
from jaxmodels.models.summarizers import Summarizers, flags_from_published, published_names
from jaxmodels.models.text_to_text_models import PUBLISHED as TEXT_TO_TEXT
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.pointer_summarizer import PointerSummarizer
from jaxmodels.objectives.prompted_summarizer import PromptedSummarizer
from jaxmodels.objectives.sequence_summarizer import SequenceSummarizer
from jaxmodels.objectives.summaries import SummarySearch
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Objective, Source
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
class SummarizationConfig(Config):
    """Train, resume and evaluate a summarizer, and summarize with it."""

    experiment: ClassVar[str] = "summarization"

    run: Section[RunConfig] = RunConfig(
        steps=400, batch_size=32, eval_every=100, eval_batch_size=100, log_every=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[DocumentConfig] = DocumentConfig()
    # It stands before the options of models: Marian has one of this name, which then counts.
    context: int = 0
    """Places of a table of positions, as GPT-2 has one; 0: as many as a row has tokens."""
    model: ModelSection[Summarizers] = Summarizers()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        schedule="warmup_cosine",
        warmup_steps=100,
    )
    writing: Section[SummaryWriting] = SummaryWriting()

    dropout: float = 0.0
    """Share of numbers left out in training."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "ema"), 0, 1)

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        flags = flags_from_published(weights)
        if flags["model"] in TEXT_TO_TEXT:
            flags["prefix"] = published_prefix(weights)
            return with_tokenizer(flags, weights)
        tokenizer = keep_tokenizer(weights.path)
        return flags if tokenizer is None else {**flags, "tokenizer": tokenizer}

    def agrees(self, name: str, given: Any, implied: Any) -> bool:
        # Weights may learn another task.
        return name == "prefix" or super().agrees(name, given, implied)

    @classmethod
    def flags_of_weights_alone(cls, weights: Weights) -> dict[str, Any]:
        if flags_from_published(weights)["model"] not in TEXT_TO_TEXT:
            return {}
        return published_writing(weights)


def build(config: SummarizationConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the documents that it names or on those in memory:
    {"train": [(document, summary), ...], "test": [...]}, where each may be a list of texts."""
    data = load_documents(config.data, data, config.model.rows)
    sources = {split: data.source(split) for split in evaluation_splits(data.sizes)}
    objective = _objective(config, data)
    shown, reader = Shown(data), DocumentReader(data)
    evaluated = evaluation_splits(data.splits)  # none where the documents are absent
    unseen = [f"note: {told}" for split in evaluated for told in shown.unseen(split)]
    return Experiment(
        objective=Objective.of(objective),
        train=data.training(),
        evaluation=sources,
        monitor="loss",
        scores={**objective.scores, **SCORES},
        facts={"data": data.facts()},
        after_evaluation=partial(report, shown, objective.write, config.writing),
        prediction=Prediction(reader.read, objective.write, reader.write),
        elsewhere=partial(elsewhere, shown, objective, config.writing),
        introduction="\n".join([data.summary(), *unseen]),
        metadata=data.metadata(),
        sharding=sharding_of(objective.model),
        tokens=data.rows.document + data.rows.summary,
        **_published(config, data, summary_programs(objective, data)),
    )


def _published(config: SummarizationConfig, data: DocumentData, programs: Exports) -> dict:
    """Makes the table of published names of an experiment, and its exports."""
    rows, models, naming = data.rows, config.model, config.run.naming
    if isinstance(rows, CopyRows):
        return {"exports": programs}
    if isinstance(rows, SequenceRows):
        given = models.text_to_text, rows.tokenizer, (rows.pairs.start, rows.end), naming
        export = partial(export_text_to_text, *given)
    else:
        given = models.language_models, rows.tokenizer, sum(_places(config, rows)), "next", naming
        export = partial(export_language_model, *given)
    return {
        "published": partial(published_names, models),
        "exports": {"safetensors": export, **programs},
    }


def elsewhere(shown: Shown, objective: Any, writing: Any, config: SummarizationConfig) -> Elsewhere:
    """Opens the documents that a config names, to evaluate a run on."""
    other = documents_elsewhere(shown.data, config.data)
    sources: dict[str, Source] = {split: other.source(split, every=False) for split in other.sizes}
    after = partial(report, shown.of(other), objective.write, writing)
    return Elsewhere(other.name, other.fingerprint, sources, after)


def _objective(config: SummarizationConfig, data: DocumentData) -> Summarizer:
    """Makes the objective of rows.

    Raises:
      InputError: options of the search that do not go together, or a row that is too long.
    """
    rows = data.rows
    config.writing.require_room(rows.summary)
    common: dict[str, Any] = {
        "model": _model(config, rows),
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "dropout": config.dropout,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
    }
    search = {"most": rows.summary + 1, **config.writing.options()}
    if isinstance(rows, SequenceRows):
        around = {"start": rows.pairs.start, "end": rows.end}
        return SequenceSummarizer(buckets=data.buckets, **around, **search, **common)
    if isinstance(rows, CopyRows):
        found = SummarySearch(end=END, barred=(PADDING, UNKNOWN, START), **search)
        return PointerSummarizer(search=found, buckets=data.buckets, **common)
    return PromptedSummarizer(search=SummarySearch(end=rows.end, **search), **common)


def _model(config: SummarizationConfig, rows: Rows) -> Any:
    prompts = isinstance(rows, PromptRows)
    lengths = _places(config, rows) if prompts else (rows.document, rows.summary + 2)
    dtype = jnp.dtype(config.compute.precision)
    return config.model.create(rows.tokenizer.size, lengths, dtype)


def _places(config: SummarizationConfig, rows: PromptRows) -> tuple[int, int]:
    """Returns how many tokens a model of the next token has places for.

    Raises:
      InputError: a row has more.
    """
    if config.context and config.context < rows.length:
        raise InputError(
            f"context = {config.context}; a row has {rows.length} tokens: expected a smaller"
            " --document-length"
        )
    return config.context or rows.length, 0


if __name__ == "__main__":
    sys.exit(main(SummarizationConfig, build, PRESETS))
