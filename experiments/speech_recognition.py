"""Train a recogniser of speech: sounds to their texts.

    python -m experiments.speech_recognition                                # dialled keys
    python -m experiments.speech_recognition --preset digits --data-dir DIR # connected digits
    python -m experiments.speech_recognition --data ./recordings            # NAME.wav with NAME.txt
    python -m experiments.speech_recognition --data ./LibriSpeech --beams 8 --grammar 4
    python -m experiments.speech_recognition --data ./an4                   # with etc/ and wav/
    python -m experiments.speech_recognition --data librispeech --data-dir DIR  # of tfds
    python -m experiments.speech_recognition --init-from WHISPER --mode predict --input ./new \\
        --output new.jsonl                                                  # Whisper, as it is
    python -m experiments.speech_recognition --init-from WHISPER --mode evaluate --data ./recordings
    python -m experiments.speech_recognition --preset whisper-digits --init-from WHISPER \\
        --data-dir DIR                                                      # Whisper, fine-tuned
    python -m experiments.speech_recognition --workdir RUN --mode predict --input ./new \\
        --output new.jsonl

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(errors by kind, the worst transcripts), checkpoints/ and samples/ (transcripts as text, sounds and
spectrograms of the worst).
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from experiments.exports.common import Exports
from experiments.exports.sounds import recogniser_programs
from experiments.exports.whisper import whisper_weights
from experiments.presets.speech_recognition import PRESETS
from experiments.reports.speech_recognition import SCORES, report
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.data.text.tokenizers import load_tokenizer, tokenizer_from, tokenizer_values
from jaxmodels.data.transcripts import (
    TranscriptConfig,
    TranscriptData,
    is_streamed,
    load_transcripts,
    read_recordings,
    transcripts_elsewhere,
)
from jaxmodels.decoding.ngrams import Grammar, ngrams
from jaxmodels.errors import InputError
from jaxmodels.models import whisper_names
from jaxmodels.models.speech_models import SpeechModels
from jaxmodels.models.whisper import WhisperConfig, step_of
from jaxmodels.models.whisper_rules import Dictated, writing_of, written
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.recognition import Connectionist, Dictation, Recogniser
from jaxmodels.objectives.recording_augmentation import (
    RecordingAugmentationConfig,
    make_recording_augmentation,
)
from jaxmodels.ops.augmentation.sounds import hide
from jaxmodels.ops.spectral import WHISPER, Mel, as_float, frame_mask, log_mel
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Metadata
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
from jaxmodels.train.experiment import PerBatch

_WHISPER_RATE = 16_000


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """What an encoder sees of a sound; Whisper sees what it was published with."""

    bands: int = 40
    """Mel bands, from 0 Hz to half of the rate."""
    window: float = 0.025
    """Seconds of a frame."""
    hop: float = 0.01
    """Seconds from a frame to the next."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        if not 0 < self.hop <= self.window:
            raise InputError(f"hop, window = {self.hop:g}, {self.window:g}; expected 0 < hop <= it")
        if self.bands < 1:
            raise InputError(f"bands = {self.bands}; expected at least 1")

    def mel(self, rate: int) -> Mel:
        """Makes the numbers of the spectrogram at a rate.

        Raises:
          InputError: bands that are too narrow for the window.
        """
        return Mel.in_seconds(rate, self.window, self.hop, self.bands)


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How texts are made of what a model says."""

    beams: Annotated[int, Role.READ] = 1
    """Texts that a search keeps; 1: the likeliest label at each place."""
    grammar: Annotated[int, Role.READ] = 0
    """Order of the n-grams of the training texts that the search of an encoder's labels asks; 0:
    none."""
    grammar_weight: Annotated[float, Role.READ] = 0.5
    """Weight of the n-grams beside the sound."""
    label_bonus: Annotated[float, Role.READ] = 0.0
    """What each label adds to the score of a text, against texts that are too short."""
    most_tokens: Annotated[int, Role.READ] = 100
    """Most tokens that Whisper writes of a sound."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        if self.beams < 1 or self.grammar < 0 or self.most_tokens < 1:
            raise InputError(
                f"beams, grammar, most_tokens = {self.beams}, {self.grammar}, {self.most_tokens};"
                " expected at least 1, 0, 1"
            )
        if self.grammar and self.beams == 1:
            raise InputError(f"grammar = {self.grammar} with beams = 1; expected --beams 8, say")


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionConfig(Config):
    """Train, resume and evaluate a recogniser of speech, and transcribe with it."""

    experiment: ClassVar[str] = "speech_recognition"

    # Whisper's attention over 30 seconds takes 54 MB for each sound and block.
    run: Section[RunConfig] = RunConfig(
        steps=400, batch_size=32, eval_every=100, eval_batch_size=16, log_every=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[TranscriptConfig] = TranscriptConfig()
    front_end: Section[FrontEndConfig] = FrontEndConfig()
    model: ModelSection[SpeechModels] = SpeechModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw", learning_rate=3e-3, weight_decay=0.01, schedule="cosine", clip=1.0
    )
    augmentation: Section[RecordingAugmentationConfig] = RecordingAugmentationConfig()
    decoding: Section[DecodingConfig] = DecodingConfig()

    tokenizer: str = ""
    """Whisper's tokenizer.json, or its folder; --init-from knows it."""
    dropout: float = 0.0
    """Share of numbers left out in training."""
    ema: float = 0.0
    """Decay of the average of parameters for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("dropout", "ema"), 0, 1)
        if self.model.writes and self.data.rate != _WHISPER_RATE:
            raise InputError(
                f"rate = {self.data.rate}; expected {_WHISPER_RATE} with --model whisper"
            )

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        if not whisper_names.is_published(weights):
            raise InputError(f"{weights.path} holds weights of another model than whisper")
        flags = whisper_names.flags_from_published(weights)
        tokenizer = keep_tokenizer(weights.path)
        if tokenizer is None:
            raise InputError(f"{weights.path} has no tokenizer.json beside it; expected Whisper's")
        return {**flags, "rate": _WHISPER_RATE, "tokenizer": tokenizer}


def build(config: SpeechRecognitionConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sounds that it names or on those in memory:
    {"train": [(samples, text), ...], "test": [...]}, at --rate."""
    if config.model.writes:
        coder = _dictated(config, data)
        data = load_transcripts(config.data, data, coder=coder)
        recogniser, mel = _dictation(config, coder, data), _whisper_mel(config.model.whisper)
    else:
        frames = partial(_places, config)
        data = load_transcripts(config.data, data, frames=frames)
        recogniser, mel = _connectionist(config, data), config.front_end.mel(data.rate)
    places = recogniser.model.frames if config.model.writes else 0
    if places * mel.hop < data.samples and places:
        raise InputError(
            f"data '{data.name}' has a sound of {data.samples / data.rate:.1f} s; expected at most"
            f" {places * mel.hop / data.rate:.1f}, which Whisper hears: --longest SECONDS"
            " --skip-bad-records N leaves such sounds out"
        )
    # Recordings to transcribe may be longer than those of the run.
    longest = places * mel.hop or round(config.data.longest * data.rate)
    streamed, workers = is_streamed(data, config.data), config.data.workers
    sources = {split: data.source(split, streamed, workers) for split in data.sizes}
    prepare = partial(spectrograms, mel, places)
    count = places or mel.frames(data.samples)
    augment = make_recording_augmentation(
        config.augmentation, data.samples, count, mel.bands, mel.transform
    )
    predict = prepared(recogniser.predict, prepare)
    shown = prepared(_features, prepare)
    return Experiment(
        objective=with_preprocessing(recogniser, prepare, augment),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="wer",
        scores={**recogniser.scores, **SCORES},
        facts={"data": data.facts()},
        after_evaluation=partial(report, data, predict, shown),
        prediction=Prediction(
            read=partial(read_recordings, data=data, samples=longest),
            predict=predict,
            write=lambda outputs: {"text": text_of(data, outputs)},
        ),
        elsewhere=partial(elsewhere, data, longest, predict, shown),
        introduction=data.summary(),
        metadata=_metadata(data),
        **_published(config, data, recogniser_programs(recogniser, prepare, data)),
    )


def _metadata(data: TranscriptData) -> dict[str, Any]:
    """Returns what the run keeps of the data, with Whisper's tokenizer."""
    values = data.metadata()
    if isinstance(data.coder, Dictated):
        values["tokenizer"] = tokenizer_values(data.coder.tokenizer)
    return values


def spectrograms(mel: Mel, places: int, batch, key):
    """Replaces the sounds of a batch by their spectrograms.

    places: the frames that every sound is filled up to; 0: those of its row.
    """
    used = ("sound", "begin", "hidden", "length")
    others = {name: value for name, value in batch.items() if name not in used}
    sound = as_float(batch["sound"])
    if places:
        sound = jnp.pad(sound, ((0, 0), (0, places * mel.hop - sound.shape[1])))
    features = log_mel(sound, mel)
    frames = jnp.minimum(batch["length"] // mel.hop + 1, features.shape[1])
    if "hidden" in batch:
        inside = frame_mask(batch["length"], features.shape[1], mel.transform)
        features = hide(features, batch["hidden"], inside)
    return {**others, "features": features, "frames": frames}


def text_of(data: TranscriptData, outputs) -> str:
    """Makes the text of one example's tokens."""
    tokens = np.asarray(outputs["tokens"])[: int(outputs["length"])]
    return data.coder.decode(tokens.tolist())


def elsewhere(
    data: TranscriptData,
    samples: int,
    predict: PerBatch,
    spectrograms: PerBatch,
    config: SpeechRecognitionConfig,
) -> Elsewhere:
    """Opens the sounds that a config names, to evaluate a run of `data` on, in rows of so many
    samples."""
    other = transcripts_elsewhere(data, config.data, samples)
    sources: dict[str, Any] = {split: other.source(split) for split in other.sizes}
    after = partial(report, other, predict, spectrograms)
    return Elsewhere(other.name, other.fingerprint, sources, after)


def _features(state, batch, key):
    """Returns the spectrograms that the report shows."""
    return batch["features"]


def _places(config: SpeechRecognitionConfig, rate: int):
    """Makes the function from samples to the places of an encoder that count."""
    hop = config.front_end.mel(rate).hop

    def count(samples):
        frames = samples // hop + 1
        for _ in range(config.model.halvings):
            frames = (frames + 1) // 2
        return frames

    return count


def _common(config: SpeechRecognitionConfig) -> dict[str, Any]:
    return {
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "dropout": config.dropout,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
    }


def _connectionist(config: SpeechRecognitionConfig, data: TranscriptData) -> Recogniser:
    decoding = config.decoding
    return Connectionist(
        model=config.model.create(data.coder.size, jnp.dtype(config.compute.precision)),
        beams=decoding.beams,
        grammar=_grammar(decoding.grammar, data),
        weight=decoding.grammar_weight,
        bonus=decoding.label_bonus,
        **_common(config),
    )


def _grammar(order: int, data: TranscriptData) -> Grammar | None:
    if not order:
        return None
    texts = [data.coder.encode(text).tolist() for text in data.texts(TRAIN)]
    return ngrams(texts, data.coder.size, order)


def _dictated(config: SpeechRecognitionConfig, given: Any) -> Dictated:
    """Makes the coder of Whisper's tokenizer, of which a run has kept the file."""
    if isinstance(given, Metadata):
        tokenizer = tokenizer_from(given.values["tokenizer"])
    elif config.tokenizer:
        tokenizer = load_tokenizer(Path(config.tokenizer).expanduser())
    else:
        raise InputError(
            "tokenizer = ''; expected Whisper's: --init-from WEIGHTS with a tokenizer.json beside"
            " them, or --tokenizer FILE"
        )
    rows = config.model.whisper.token_rows or tokenizer.size
    return Dictated(tokenizer, writing_of(config.model.whisper, tokenizer, rows))


def _dictation(
    config: SpeechRecognitionConfig, coder: Dictated, data: TranscriptData
) -> Recogniser:
    model: Any = config.model.create(coder.size, jnp.dtype(config.compute.precision))
    writing, beams = coder.writing, config.decoding.beams
    most = min(config.decoding.most_tokens, model.context - len(writing.prompt))
    if data.room > model.context:
        raise InputError(
            f"data '{data.name}' has a text of {data.room} tokens; expected at most {model.context}"
        )

    def write(params, features):
        memory = model.apply({"params": params}, features, method="encode")
        found = written(step_of(model, params, memory), writing, len(features), most, beams)
        return found.tokens[:, 0], found.length[:, 0]

    return Dictation(model=model, prompt=len(writing.prompt), write=write, **_common(config))


def _whisper_mel(config: WhisperConfig) -> Mel:
    return WHISPER._replace(bands=config.bands)


def _published(
    config: SpeechRecognitionConfig, data: TranscriptData, programs: Exports
) -> dict[str, Any]:
    """Makes the table of published names of an experiment, and its exports."""
    if not config.model.writes:
        return {"exports": programs}
    options = config.model.whisper
    names = partial(whisper_names.published, options)
    coder: Any = data.coder
    exports = {"safetensors": whisper_weights(options, coder), **programs}
    return {"published": names, "exports": exports}


if __name__ == "__main__":
    sys.exit(main(SpeechRecognitionConfig, build, PRESETS))
