"""Train a vocoder: a network that makes sounds of mel spectrograms.

    python -m experiments.vocoder                                   # telephone keys
    python -m experiments.vocoder --preset fsdd --data-dir DIR      # digits in six voices
    python -m experiments.vocoder --data ./words                    # CLASS/*.wav
    python -m experiments.vocoder --workdir RUN --mode predict --input recordings \\
        --output made.jsonl
    python -m experiments.speech_synthesis --vocoder RUN            # in place of Griffin-Lim

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json (with
the protocol and the distances of Griffin-Lim), checkpoints/ and samples/ (recordings that play,
with what both make of their spectrograms, and spectrograms).
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp

from experiments.exports.speech import vocoder_programs
from experiments.parts.speech_frames import FramesConfig
from experiments.parts.written_sounds import SoundWriter
from experiments.presets.vocoder import PRESETS
from experiments.reports.vocoder import SCORES, report
from jaxmodels.data.audio import AudioConfig, is_streamed, load_sounds, read_sounds
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.errors import InputError
from jaxmodels.models.sound_discriminators import SoundDiscriminatorsConfig
from jaxmodels.models.vocos import Vocos, VocosConfig
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.players import learned_generator
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.random_windows import make_random_windows
from jaxmodels.objectives.vocoding import Vocoding, VocodingConfig
from jaxmodels.ops.spectral import Mel, as_float, log_mel, silence_behind
from jaxmodels.ops.spectral_distance import mel_distances, resolutions_of
from jaxmodels.ops.spectral_phase import griffin_lim_of_mel
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Experiment,
    Prediction,
    RunConfig,
    Section,
    main,
)

_PHASES = 60  # iterations of Griffin & Lim, the vocoder's rival


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(Config):
    """Train, resume and evaluate a network that makes sounds of spectrograms."""

    experiment: ClassVar[str] = "vocoder"

    run: Section[RunConfig] = RunConfig(steps=1000, batch_size=16, eval_every=500, log_every=100)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[AudioConfig] = AudioConfig(data="clear_tones")
    frames: Section[FramesConfig] = FramesConfig()
    model: Section[VocosConfig] = VocosConfig()
    discriminators: Section[SoundDiscriminatorsConfig] = SoundDiscriminatorsConfig()
    vocoding: Section[VocodingConfig] = VocodingConfig()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw",
        learning_rate=1e-3,
        momentum=0.8,
        second_momentum=0.9,
        weight_decay=0.01,
        schedule="cosine",
        clip=10.0,
    )

    segment: float = 0.256
    """Seconds of the random windows that are learned from."""


def build(config: VocoderConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sounds that it names or on those in memory:
    {"train": [(samples, class), ...], "test": [...]}."""
    data = load_sounds(config.data, data, centred=False)
    streamed, workers = is_streamed(data, config.data), config.data.workers
    sources = {split: data.source(split, streamed, workers) for split in data.sizes}
    mel = config.frames.mel(data.rate)
    dtype = jnp.dtype(config.compute.precision)
    vocoding = Vocoding(
        generator_of(config, mel),
        config.discriminators.create(resolutions_of(mel.transform), dtype),
        mel,
        config.vocoding,
        config.optimizer,
        config.run.steps,
        config.compute.accumulate,
    )

    def prepare(batch, key):
        return {**batch, "sound": as_float(batch["sound"])}

    def both(state, batch, key):
        features, samples = log_mel(batch["sound"], mel), batch["sound"].shape[1]
        made = vocoding.vocode(learned_generator(state), features, samples)
        rival = griffin_lim_of_mel(features, mel, samples, _PHASES)
        return {"vocoded": jnp.clip(made, -1, 1), "griffin-lim": rival}

    def rival(state, batch, key):
        features, samples = log_mel(batch["sound"], mel), batch["sound"].shape[1]
        return vocoding.distances(griffin_lim_of_mel(features, mel, samples, _PHASES), batch)

    def predict(state, batch, key):
        sound, length = batch["sound"], batch["length"]
        made = vocoding.vocode(learned_generator(state), log_mel(sound, mel), sound.shape[1])
        made = silence_behind(made, length)
        distances = mel_distances(sound, made, length, mel)
        return {"sound": jnp.clip(made, -1, 1), "length": length, "mel_distance": distances}

    writer = SoundWriter(config.run.output, data.rate)
    return Experiment(
        objective=with_preprocessing(
            vocoding, prepare, make_random_windows(_window(config, mel, data.samples))
        ),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="mel_distance",
        scores={**Vocoding.scores, **SCORES},
        facts={"data": data.facts()},
        after_evaluation=partial(
            report, data, mel, _PHASES, prepared(both, prepare), prepared(rival, prepare)
        ),
        prediction=Prediction(
            read=partial(read_sounds, data=data, whole=True),
            predict=prepared(predict, prepare),
            write=lambda outputs: {
                **writer(outputs),
                "mel_distance": float(outputs["mel_distance"]),
            },
        ),
        exports=vocoder_programs(vocoding, data),
        introduction=data.summary(),
        metadata=data.metadata(),
    )


def generator_of(config: VocoderConfig, mel: Mel) -> Vocos:
    """Creates the network of a config, for these spectrograms."""
    return config.model.create(mel.transform, jnp.dtype(config.compute.precision))


def _window(config: VocoderConfig, mel: Mel, samples: int) -> int:
    """Counts the samples of a window.

    Raises:
      InputError: a window that is shorter than the longest frame that is compared.
    """
    window = min(round(config.segment * mel.rate), samples)
    least = 2 * mel.transform.samples
    if window < least:
        raise InputError(
            f"segment = {config.segment:g}; a window of {window} samples at {mel.rate} Hz:"
            f" expected at least {least}, the longest frame that is compared"
        )
    return window


if __name__ == "__main__":
    sys.exit(main(VocoderConfig, build, PRESETS))
