"""Train a classifier of short sounds: spoken commands, digits, telephone keys.

    python -m experiments.speech_commands                                   # generated tones
    python -m experiments.speech_commands --preset fsdd --data-dir DIR      # spoken digits
    python -m experiments.speech_commands --preset fsdd-speakers --data-dir DIR  # each left out
    python -m experiments.speech_commands --data ./words --model kwt        # CLASS/*.wav
    python -m experiments.speech_commands --workdir RUN --mode predict --input NEW --output OUT

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores per class), checkpoints/ and samples/ (a confusion matrix, spectrograms, the worst mistakes
and sounds to listen to).
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp

from experiments.exports.classifier import classifier_programs
from experiments.parts.class_predictions import prediction_line
from experiments.parts.class_weights import CHOICES, class_weights_of
from experiments.presets.speech_commands import PRESETS
from experiments.reports.speech_commands import report
from jaxmodels.data.audio import (
    AudioConfig,
    SoundData,
    is_streamed,
    load_sounds,
    read_sounds,
    sounds_elsewhere,
    speakers_of,
)
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.sound_models import SoundModels
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.sound_augmentation import (
    SoundAugmentationConfig,
    begins,
    make_sound_augmentation,
)
from jaxmodels.ops.augmentation.sounds import hide
from jaxmodels.ops.spectral import Mel, as_float, frame_mask, log_mel, mean_inside, mfcc
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
class SpectrogramConfig:
    """What a model sees of a sound."""

    bands: int = 40
    """Mel bands, from 0 Hz to half of the rate."""
    window: float = 0.03
    """Seconds of a frame."""
    hop: float = 0.01
    """Seconds from a frame to the next."""
    coefficients: int = 0
    """Cepstral coefficients in place of the bands; 0: the bands."""
    level: Literal["kept", "removed", "bands"] = "kept"
    """removed: the mean of each sound's spectrogram is subtracted, so that loudness says nothing;
    bands: the mean of each of its bands, so that neither a fixed filter (a microphone, a room) says
    anything (cepstral mean normalisation, Atal 1974). The silence around a sound becomes 0."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        if not 0 < self.hop <= self.window:
            raise InputError(f"hop, window = {self.hop:g}, {self.window:g}; expected 0 < hop <= it")
        if not 0 <= self.coefficients <= self.bands or self.bands < 1:
            raise InputError(
                f"bands, coefficients = {self.bands}, {self.coefficients}; expected at least 1, and"
                " at most as many coefficients"
            )
        require_known("level", self.level, ("kept", "removed", "bands"))

    def mel(self, rate: int) -> Mel:
        """Makes the numbers of the spectrogram at a rate: filters as torchaudio's, which BC-ResNet
        was published with.

        Raises:
          InputError: bands that are too narrow for the window.
        """
        return Mel.in_seconds(rate, self.window, self.hop, self.bands, scale="htk", norm="none")


@dataclass(frozen=True, kw_only=True)
class SpeechCommandsConfig(Config):
    """Train, resume and evaluate a classifier of short sounds, and predict with it."""

    experiment: ClassVar[str] = "speech_commands"

    run: Section[RunConfig] = RunConfig(steps=400, batch_size=64, eval_every=100, log_every=50)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[AudioConfig] = AudioConfig()
    spectrogram: Section[SpectrogramConfig] = SpectrogramConfig()
    model: ModelSection[SoundModels] = SoundModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw", learning_rate=1e-2, weight_decay=0.01, schedule="cosine"
    )
    augmentation: Section[SoundAugmentationConfig] = SoundAugmentationConfig()

    dropout: float = 0.0
    """Share of channels (bcresnet) or numbers (kwt) left out in training; both were published with
    0.1."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare classes count as much as common ones."""
    ema: float = 0.0
    """Decay of the average of parameters and batch statistics for evaluation; 0: no average."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("label_smoothing", "ema", "dropout"), 0, 1)
        require_known("class_weights", self.class_weights, CHOICES)
        if self.data.folds and self.run.repeat > 1:
            raise InputError(
                f"repeat = {self.run.repeat} with folds = {self.data.folds}; expected one of them:"
                " other seeds of the folds by --seed N"
            )

    @property
    def several(self) -> dict[str, dict[str, Any]]:
        """The flags of the runs of all speakers, where none is named."""
        if self.data.folds and self.data.fold is None:
            return {f"fold-{name}": {"fold": name} for name in speakers_of(self.data)}
        return super().several


def build(config: SpeechCommandsConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sounds that it names or on those in memory:
    {"train": [(samples, label), ...], "test": [...]}."""
    data = load_sounds(config.data, data)
    if len(data.class_names) < 2:
        raise InputError(f"data '{data.name}' has one class; a classifier needs two or more")
    streamed, workers = is_streamed(data, config.data), config.data.workers
    sources = {split: data.source(split, streamed, workers) for split in data.sizes}
    mel = config.spectrogram.mel(data.rate)
    classifier = Classifier(
        model=config.model.create(len(data.class_names), jnp.dtype(config.compute.precision)),
        classes=len(data.class_names),
        optimizer=config.optimizer,
        steps=config.run.steps,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
        class_weights=class_weights_of(
            config.class_weights, data, lambda: data.labels(TRAIN), len(data.class_names)
        ),
        input_name="spectrogram",
    )
    prepare = partial(spectrograms, config.spectrogram, mel)
    augment = make_sound_augmentation(
        config.augmentation,
        data.samples,
        mel.frames(data.samples),
        _features(config),
        mel.transform,
    )
    predict = prepared(classifier.predict, prepare)
    return Experiment(
        objective=with_preprocessing(classifier, prepare, augment),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="accuracy",
        scores=Classifier.scores,
        facts={"data": data.facts()},
        after_evaluation=partial(report, data, predict, partial(_shown, mel)),
        prediction=Prediction(
            read=partial(read_sounds, data=data),
            predict=predict,
            write=partial(prediction_line, data.class_names),
        ),
        elsewhere=partial(elsewhere, data),
        exports=classifier_programs(
            classifier, prepare, sources[TRAIN], data.class_names, {"rate": data.rate}
        ),
        introduction=data.summary(),
        metadata={**data.metadata(), "class_weights": list(classifier.class_weights)},
    )


def spectrograms(config: SpectrogramConfig, mel: Mel, batch, key):
    """Replaces the sounds of a batch by their spectrograms."""
    used = ("sound", "begin", "hidden")
    others = {name: value for name, value in batch.items() if name not in used}
    features = log_mel(as_float(batch["sound"]), mel)
    frames = features.shape[1]
    inside = frame_mask(batch["length"], frames, mel.transform, begins(batch))
    if config.level != "kept":
        mean = mean_inside(features, inside, each_band=config.level == "bands")
        # Silence of zeros lies below all sounds, by a distance that would tell how loud they are.
        features = (features - mean) * inside[..., None]
    if config.coefficients:
        features = mfcc(features, config.coefficients)
    if "hidden" in batch:
        features = hide(features, batch["hidden"], inside)
    return {**others, "spectrogram": features}


def _features(config: SpeechCommandsConfig) -> int:
    return config.spectrogram.coefficients or config.spectrogram.bands


def _shown(mel: Mel, state, batch, key):
    """Computes the spectrograms that the report shows."""
    return log_mel(as_float(batch["sound"]), mel)


def elsewhere(data: SoundData, config: SpeechCommandsConfig) -> Elsewhere:
    """Opens the sounds that a config names, to evaluate a run of `data` on."""
    other = sounds_elsewhere(data, replace(config.data, folds="", fold=None))
    sources: dict[str, Any] = {split: other.source(split) for split in other.sizes}
    return Elsewhere(other.name, other.fingerprint, sources)


if __name__ == "__main__":
    sys.exit(main(SpeechCommandsConfig, build, PRESETS))
