"""Train a language model: predict each token of a text from those before it.

    python -m experiments.language_model                                  # Python's own help
    python -m experiments.language_model --data tiny_shakespeare --tokenizer chars
    python -m experiments.language_model --data ./books --tokenizer bpe --depth 8 --steps 20000
    python -m experiments.language_model --preset gpt2-small --data DATA  # 124M parameters
    python -m experiments.language_model --objective masked               # as BERT learns
    python -m experiments.language_model --workdir RUN --mode sample --prompt "The list"
    python -m experiments.language_model --init-from FILE.gguf --mode sample --chat \\
        --prompt "What is rain?"                                          # SmolLM2, Llama, Qwen2
    python -m experiments.language_model --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl                                                # nats of each line

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores and their protocol), checkpoints/ and samples/ (texts that the model writes over training).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import jax.numpy as jnp

from experiments.exports.language_model import export_language_model, language_model_programs
from experiments.parts.writing import WritingConfig, added, conditions_of, prompts_of, texts_of
from experiments.presets.language_model import PRESETS
from experiments.reports.language_model import SCORES, report, report_masked
from jaxmodels.data.text import TextConfig, TextData, load_text
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.data.text.lines import read_text_lines
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.language_models import (
    LanguageModels,
    flags_from_published,
    published_names,
)
from jaxmodels.models.layers.attention import FUSED, assert_uses
from jaxmodels.models.options import sharding_of
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.masked_language_model import MaskedLanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Metadata, Objective
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Experiment,
    ModelSection,
    Prediction,
    RunConfig,
    Section,
    Texts,
    main,
    require_range,
)

Asked = Literal["next", "masked"]
_ROTARY_CONTEXT = 1024  # tokens, where published weights would allow more and take the memory


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(Config):
    """Train, resume and evaluate a language model, write with it and score text."""

    experiment: ClassVar[str] = "language_model"

    run: Section[RunConfig] = RunConfig(
        steps=400, batch_size=16, count=4, eval_every=100, eval_batch_size=64, log_every=20
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[TextConfig] = TextConfig(tokenizer="bpe", vocabulary=1024, context=128)
    model: ModelSection[LanguageModels] = LanguageModels(gpt=GPTConfig(width=128, head_size=64))
    # What Adam updates beside Muon has a rate of 3e-3.
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="muon_jordan",
        learning_rate=0.02,
        embedding_rate=0.15,
        head_rate=0.15,
        vector_rate=0.15,
    )
    writing: Section[WritingConfig] = WritingConfig()

    objective: Asked = "next"
    """What is predicted: next, each token from those before it; or masked, hidden tokens from all
    around them (Devlin et al. 2019, section 3.1), which makes a model that reads, not writes."""
    mask_rate: float = 0.15
    """Share of tokens that --objective masked hides."""
    within_documents: bool = False
    """Attention stays inside of a document; otherwise tokens see those of other documents too."""
    dropout: float = 0.1
    """Share of numbers left out in training."""
    z_loss: float = 0.0
    """Weight of the squared logarithm of the softmax's normaliser in what is minimised."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""
    mup_base: int = 0
    """Width for which rates and initial values are right: those of --width follow from them (muP,
    Yang et al. 2022); 0: none."""

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        flags = flags_from_published(weights)
        if flags["model"] == "llama":
            flags["context"] = min(flags["context"], _ROTARY_CONTEXT)
        tokenizer = keep_tokenizer(weights.path)
        return flags if tokenizer is None else {**flags, "tokenizer": tokenizer}

    def agrees(self, name: str, given: Any, implied: Any) -> bool:
        # Rotary positions have no table that would fix their number.
        is_free = name == "context" and self.model.model == "llama"
        return is_free or super().agrees(name, given, implied)

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "ema"), 0, 1)
        require_range(self, ("z_loss",))
        require_known("objective", self.objective, get_args(Asked))
        if not 0 < self.mask_rate <= 1:
            raise InputError(f"mask_rate = {self.mask_rate}; expected above 0 and at most 1")

    def refused_modes(self) -> Mapping[str, str]:
        refused = {}
        if self.writing.chat:
            modes = ("train", "evaluate", "predict", "export")
            refused = dict.fromkeys(modes, "--chat answers a prompt: expected --mode sample")
        if self.objective == "masked":
            reason = (
                "a model of masked tokens neither writes nor gives a text a probability: expected"
                " evaluate, or a run with --objective next"
            )
            refused |= dict.fromkeys(("sample", "predict"), reason)
        return refused


def build(config: LanguageModelConfig, data: TextData | Metadata | None = None) -> Experiment:
    """Makes the experiment of a config, on the given text or on the text that the config names."""
    data = load_text(config.data, data)
    is_masked = config.objective == "masked"
    objective = _masked_tokens(config, data) if is_masked else _next_token(config, data)
    sources = {split: data.source(split, config.within_documents) for split in data.sizes}
    train = sources.pop("train")
    attention = partial(objective.model.attention_kind, data.context)
    trained = attention(dropout=bool(config.dropout))
    experiment = Experiment(
        objective=Objective.of(objective),
        train=train,
        evaluation=sources,
        monitor="loss",
        scores=objective.scores,
        facts={"data": data.facts()},
        sharding=sharding_of(objective.model),
        tokens=data.context,
        introduction=_introduction(data),
        metadata=data.metadata(),
        published=partial(published_names, config.model),
        exports={
            "safetensors": partial(
                export_language_model,
                config.model,
                data.tokenizer,
                data.context,
                config.objective,
                config.run.naming,
            ),
            **language_model_programs(
                objective.network, data.context, data.tokenizer.name, causal=not is_masked
            ),
        },
        verify=partial(assert_uses, kind=trained) if trained in FUSED else None,
    )
    if isinstance(objective, MaskedLanguageModel):
        return experiment._replace(after_evaluation=partial(report_masked, config.mask_rate, data))
    return experiment._replace(
        scores={**objective.scores, **SCORES},
        after_evaluation=partial(report, config.writing, data, attention()),
        texts=_texts(config, data, objective),
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
    )


def _next_token(config: LanguageModelConfig, data: TextData) -> LanguageModel:
    """Makes the objective of the next token."""
    return LanguageModel(**_common(config, data, data.tokenizer.size, causal=True))


def _masked_tokens(config: LanguageModelConfig, data: TextData) -> MaskedLanguageModel:
    """Makes the objective of masked tokens, whose mask is one more word.

    Raises:
      InputError: a split that is shorter than a window, where what fills it up would be seen.
    """
    for split, column in data.columns.items():
        if len(column) <= data.context:
            raise InputError(
                f"context = {data.context}; {split} has {len(column):,} tokens: expected a context"
                " below that with --objective masked"
            )
    mask = data.tokenizer.size
    common = _common(config, data, mask + 1, causal=False)
    return MaskedLanguageModel(**common, mask_token=mask, mask_rate=config.mask_rate)


def _common(
    config: LanguageModelConfig, data: TextData, vocabulary: int, causal: bool
) -> dict[str, Any]:
    """Makes the arguments that both objectives have."""
    create = partial(
        LanguageModels.create,
        vocabulary=vocabulary,
        context=data.context,
        dtype=jnp.dtype(config.compute.precision),
        causal=causal,
    )
    return {
        "model": create(config.model),
        "base": create(config.model.of_width(config.mup_base)) if config.mup_base else None,
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "z_loss": config.z_loss,
        "dropout": config.dropout,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
    }


def _texts(config: LanguageModelConfig, data: TextData, objective: LanguageModel) -> Texts:
    """Makes what --mode sample writes."""
    writing, tokenizer = config.writing, data.tokenizer

    def conditions(key):
        prompts = prompts_of(writing, tokenizer, config.run.count)
        return conditions_of(writing, tokenizer, prompts)

    def lines(conditions, drawn):
        pairs = texts_of(writing, tokenizer, conditions, drawn["tokens"], drawn["length"])
        return [{"prompt": prompt, "text": text} for prompt, text in pairs]

    def streamed(state, key, conditions):
        looks = objective.stream(state, key, conditions)
        return added(texts_of(writing, tokenizer, conditions, *look) for look in looks)

    return Texts(conditions, lines, streamed)


def _introduction(data: TextData) -> str:
    """Says how much text there is, in what tokens."""
    sizes = [
        f"{split} {counts.bytes:,} bytes, {len(data.columns[split]):,} tokens"
        for split, counts in data.counts.items()
    ]
    return f"text: {'; '.join(sizes)}; vocabulary {data.tokenizer.size:,}"


if __name__ == "__main__":
    sys.exit(main(LanguageModelConfig, build, PRESETS))
