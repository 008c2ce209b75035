"""Train a model that writes a text for a text: translations, or any other pairs of texts.

    python -m experiments.translation                              # dates in two languages to ISO
    python -m experiments.translation --preset tatoeba-de-en --data-dir DIR
    python -m experiments.translation --data wmt14_translate/de-en --pair de-en --data-dir DIR
    python -m experiments.translation --data pairs.tsv             # source, tab, target
    python -m experiments.translation --data corpus/train --pair de-en  # train.de and train.en
    python -m experiments.translation --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl --beams 5                               # a line for each line
    python -m experiments.translation --init-from opus-mt-de-en --mode predict \\
        --input new.txt --output new.jsonl                         # Marian or T5 as published
    python -m experiments.translation --init-from t5-small --mode predict \\
        --prefix "translate English to German: " --input new.txt --output new.jsonl

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores with sacrebleu's signatures), checkpoints/ and samples/ (all translations beside their
references, the worst first, and what a sentence's words attend to).
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp

from experiments.exports.text_to_text import export_text_to_text, text_to_text_programs
from experiments.parts.published_search import published_options, search_flags
from experiments.presets.translation import PRESETS
from experiments.reports.translation import SCORES, report, require_attention
from jaxmodels.data.dataset import evaluation_splits
from jaxmodels.data.pairs import (
    PairConfig,
    PairData,
    load_pairs,
    pairs_elsewhere,
    read_sources,
)
from jaxmodels.data.pairs.published import with_tokenizer
from jaxmodels.decoding.beams import STOPS
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.options import sharding_of
from jaxmodels.models.text_to_text_models import (
    TextToTextModels,
    flags_from_published,
    published_names,
)
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.sequence_to_sequence import SequenceToSequence
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Objective
from jaxmodels.roles import Role
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

_PUBLISHED_LENGTH, _PUBLISHED_BEAMS = 64, 4  # tokens; four times as many are read and written


@dataclass(frozen=True, kw_only=True)
class TranslationConfig(Config):
    """Train, resume and evaluate a model of text to text, and translate with it."""

    experiment: ClassVar[str] = "translation"

    run: Section[RunConfig] = RunConfig(
        steps=1200, batch_size=64, eval_every=300, eval_batch_size=128, log_every=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[PairConfig] = PairConfig()
    model: ModelSection[TextToTextModels] = TextToTextModels(
        transformer=EncoderDecoderConfig(width=96)
    )
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="warmup_cosine",
        warmup_steps=100,
        weight_decay=0.01,
        clip=1.0,
    )

    dropout: float = 0.0
    """Share of numbers left out in training."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all tokens (Szegedy et al. 2016)."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""
    beams: Annotated[int, Role.HOW] = 1
    """Beams of the search for a translation; 1: greedy."""
    length_penalty: Annotated[float, Role.HOW] = 1.0
    """Power of the length that divides the score of a beam; above 0, longer ones are preferred."""
    stop: Annotated[Literal["likely", "full", "exact"], Role.HOW] = "likely"
    """When a search is over: likely, when what goes on has no better score at its length; full,
    when as many translations as beams have ended; exact, when nothing can get a better score."""
    attend: Annotated[str, Role.HOW] = ""
    """Source of an evaluation split whose attention is drawn; empty: the longest that fits."""
    translate: Annotated[Literal["last", "all"], Role.HOW] = "last"
    """Which evaluations translate all sources and score the translations: the last, or all."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "label_smoothing", "ema"), 0, 1)
        require_known("stop", self.stop, STOPS)
        require_known("translate", self.translate, ("last", "all"))
        if self.beams < 1:
            raise InputError(f"beams = {self.beams}; expected at least 1")

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        return with_tokenizer(flags_from_published(weights), weights)

    @classmethod
    def flags_of_weights_alone(cls, weights: Weights) -> dict[str, Any]:
        options = published_options(weights, "translation")
        return {"length": _PUBLISHED_LENGTH, "beams": _PUBLISHED_BEAMS, **search_flags(options)}


def build(config: TranslationConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the pairs that it names or on those in memory:
    {"train": [(source, target), ...], "test": [...]}."""
    data = load_pairs(config.data, data)
    objective = SequenceToSequence(
        model=config.model.create(
            data.tokenizer.size, data.longest, jnp.dtype(config.compute.precision)
        ),
        optimizer=config.optimizer,
        steps=config.run.steps,
        start=data.rows.start,
        end=data.rows.end,
        most=data.longest[1],
        buckets=data.buckets,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
        beams=config.beams,
        length_penalty=config.length_penalty,
        stop=config.stop,
    )
    evaluated = evaluation_splits(data.splits)  # none where the pairs are absent
    require_attention(data, objective, config.attend, evaluated)
    splits = evaluation_splits(data.sizes)
    sources: dict[str, Any] = {split: data.source(split) for split in splits}
    return Experiment(
        objective=Objective.of(objective),
        train=data.training(),
        evaluation=sources,
        monitor="loss",
        scores={**objective.scores, **SCORES},
        facts={"data": data.facts()},
        after_evaluation=partial(report, data, objective, config.translate, config.attend),
        prediction=Prediction(
            read=partial(read_sources, data=data),
            predict=objective.translate,
            write=lambda outputs: {"output": data.rows.text(outputs["tokens"])},
        ),
        elsewhere=partial(elsewhere, data, objective),
        introduction=data.summary(),
        metadata=data.metadata(),
        sharding=sharding_of(objective.model),
        tokens=sum(data.lengths),
        published=partial(published_names, config.model),
        exports={
            "safetensors": partial(
                export_text_to_text,
                config.model,
                data.tokenizer,
                (data.rows.start, data.rows.end),
                config.run.naming,
            ),
            **text_to_text_programs(objective, data.tokenizer, data.longest[0]),
        },
    )


def elsewhere(
    data: PairData, objective: SequenceToSequence, config: TranslationConfig
) -> Elsewhere:
    """Opens the pairs that a config names, to evaluate a run of `data` on."""
    other = pairs_elsewhere(data, config.data)
    sources: dict[str, Any] = {split: other.source(split) for split in other.sizes}
    require_attention(other, objective, config.attend, list(sources))
    after = partial(report, other, objective, config.translate, config.attend)
    return Elsewhere(other.name, other.fingerprint, sources, after)


if __name__ == "__main__":
    sys.exit(main(TranslationConfig, build, PRESETS))
