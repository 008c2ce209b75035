"""Train a summarizer: a document goes in, a sentence or two come out.

    python -m experiments.summarization                                   # generated reports
    python -m experiments.summarization --preset scitldr-copy --data-dir DIR
    python -m experiments.summarization --data news.jsonl                 # document, summary
    python -m experiments.summarization --preset scitldr-smollm2 --data-dir DIR \\
        --init-from SmolLM2.gguf                                          # with adapters
    python -m experiments.summarization --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl --beams 4                                      # a document a line

From scratch it learns an encoder and a decoder that can copy words of the document; from published
weights of a model of the next token it goes on with these. The run folder then holds config.json,
metrics.jsonl, speed.jsonl, curves.png, evaluation.json (ROUGE beside that of the first sentences,
of an extractive classifier and of the best sentence), checkpoints/ and samples/ (summaries beside
their references, the worst first).
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

from experiments.exports.common import Exports
from experiments.exports.language_model import export_language_model
from experiments.exports.summarization import summary_programs
from experiments.presets.summarization import PRESETS
from experiments.reports.summarization import SCORES, Shown, report
from jaxmodels.data.dataset import evaluation_splits
from jaxmodels.data.documents import DocumentConfig, DocumentData, load_documents
from jaxmodels.data.documents.document_data import DocumentReader
from jaxmodels.data.documents.loading import documents_elsewhere
from jaxmodels.data.documents.rows import CopyRows, PromptRows
from jaxmodels.data.documents.words import END, PADDING, START, UNKNOWN
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.models.language_models import flags_from_published, published_names
from jaxmodels.models.options import sharding_of
from jaxmodels.models.summarizers import Summarizers
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.pointer_summarizer import PointerSummarizer
from jaxmodels.objectives.prompted_summarizer import PromptedSummarizer
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
    Role,
    RunConfig,
    Section,
    main,
    require_range,
)


@dataclass(frozen=True, kw_only=True)
class WritingConfig:
    """How summaries are searched for."""

    beams: Annotated[int, Role.HOW] = 1
    """Ways to go on that the search keeps; 1: the likeliest word each time."""
    length_penalty: Annotated[float, Role.HOW] = 1.0
    """Power of the length that divides the score of a summary; higher: longer ones."""
    no_repeat: Annotated[int, Role.HOW] = 0
    """No run of so many tokens comes twice in a summary; 0: it may."""
    written: Annotated[int, Role.HOW] = 64
    """Documents of the validation split, the first ones, that are summarized at an evaluation
    during training; after the last step all are."""

    def validate(self) -> None:
        """Raises InputError for numbers out of range."""
        for name, least in (("beams", 1), ("no_repeat", 0), ("written", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {least}")
        require_range(self, ("length_penalty",))


@dataclass(frozen=True, kw_only=True)
class SummarizationConfig(Config):
    """Train, resume and evaluate a summarizer, and summarize with it."""

    experiment: ClassVar[str] = "summarization"

    run: Section[RunConfig] = RunConfig(
        steps=400, batch_size=32, eval_every=100, eval_batch_size=100, log_every=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[DocumentConfig] = DocumentConfig()
    model: ModelSection[Summarizers] = Summarizers()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        schedule="warmup_cosine",
        warmup_steps=100,
    )
    writing: Section[WritingConfig] = WritingConfig()

    dropout: float = 0.0
    """Share of numbers left out in training."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""
    context: int = 0
    """Places of a table of positions, as GPT-2 has one; 0: as many as a row has tokens."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "ema"), 0, 1)

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        flags = flags_from_published(weights)
        if flags["model"] == "llama":
            del flags["context"]  # rotary positions have no table
        tokenizer = keep_tokenizer(weights.path)
        return flags if tokenizer is None else {**flags, "tokenizer": tokenizer}


def build(config: SummarizationConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the documents that it names or on those in memory:
    {"train": [(document, summary), ...], "test": [...]}, where each may be a list of texts."""
    data = load_documents(config.data, data, config.model.tokens)
    sources = {split: data.source(split) for split in evaluation_splits(data.sizes)}
    objective = _objective(config, data)
    shown, reader = Shown(data), DocumentReader(data)
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
        introduction=data.summary(),
        metadata=data.metadata(),
        sharding=sharding_of(objective.model),
        **_published(config, data, summary_programs(objective, data)),
    )


def _published(
    config: SummarizationConfig, data: DocumentData, programs: Exports
) -> dict[str, Any]:
    """Makes the table of published names of an experiment, and its exports."""
    if not isinstance(data.rows, PromptRows):
        return {"exports": programs}
    models = config.model.language_models
    given = models, data.rows.tokenizer, sum(_places(config, data.rows)), "next", config.run.naming
    return {
        "published": partial(published_names, models),
        "exports": {"safetensors": partial(export_language_model, *given), **programs},
    }


def elsewhere(shown: Shown, objective: Any, writing: Any, config: SummarizationConfig) -> Elsewhere:
    """Opens the documents that a config names, to evaluate a run on."""
    other = documents_elsewhere(shown.data, config.data)
    sources: dict[str, Source] = {split: other.source(split, every=False) for split in other.sizes}
    after = partial(report, shown.of(other), objective.write, writing)
    return Elsewhere(other.name, other.fingerprint, sources, after)


def _objective(
    config: SummarizationConfig, data: DocumentData
) -> PointerSummarizer | PromptedSummarizer:
    dtype, rows = jnp.dtype(config.compute.precision), data.rows
    writing = config.writing
    common: dict[str, Any] = {
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "dropout": config.dropout,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
    }
    search = SummarySearch(
        most=rows.summary + 1,
        end=END if isinstance(rows, CopyRows) else rows.end,
        beams=writing.beams,
        length_penalty=writing.length_penalty,
        no_repeat=writing.no_repeat,
        barred=(PADDING, UNKNOWN, START) if isinstance(rows, CopyRows) else (),
    )
    vocabulary = rows.tokenizer.size
    if isinstance(rows, CopyRows):
        lengths = rows.document, rows.summary + 2
        model = config.model.create(vocabulary, lengths, dtype)
        return PointerSummarizer(model=model, search=search, buckets=data.buckets, **common)
    model = config.model.create(vocabulary, _places(config, rows), dtype)
    return PromptedSummarizer(model=model, search=search, **common)


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
