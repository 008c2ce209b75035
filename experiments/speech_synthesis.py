"""Train a network that says words: a text and a speaker become a sound.

    python -m experiments.speech_synthesis                                  # telephone keys
    python -m experiments.speech_synthesis --preset fsdd --data-dir DIR     # digits in six voices
    python -m experiments.speech_synthesis --data ./words                   # CLASS/*.wav
    python -m experiments.speech_synthesis --vocoder RUN      # of experiments.vocoder, for sounds
    python -m experiments.speech_synthesis --workdir RUN --mode predict --input texts.txt \\
        --output said.jsonl --voice jackson

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json,
checkpoints/ and samples/ (synthesised sounds, and spectrograms beside recorded ones). A frozen
classifier of experiments.speech_commands writes down what it hears, which gives round_trip_wer.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from experiments.exports.speech import voice_programs
from experiments.parts.speech_frames import FramesConfig
from experiments.parts.speech_judge import Judge, JudgeConfig
from experiments.parts.speech_texts import (
    Texts,
    TextsConfig,
    fingerprint_of_g2p,
    read_texts,
    texts_of,
)
from experiments.parts.speech_vocoder import Sounding, SoundingConfig
from experiments.parts.spoken_sounds import Said, spoken_source
from experiments.parts.written_sounds import SoundWriter
from experiments.presets.speech_synthesis import PRESETS
from experiments.reports.speech_synthesis import SCORES, Voices, report
from jaxmodels import across
from jaxmodels.data.absent import Absent
from jaxmodels.data.audio import (
    AbsentSounds,
    AudioConfig,
    SoundData,
    is_streamed,
    load_sounds,
)
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.errors import InputError
from jaxmodels.models.flow_speech import FlowSpeechConfig, Spoken
from jaxmodels.objectives.flow_matching import FlowMatching, normal_frames
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.ops.spectral import Mel, as_float, frame_mask, log_mel, silence_behind
from jaxmodels.protocol import Source, example_keys
from jaxmodels.roles import Role
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Experiment,
    Prediction,
    RunConfig,
    Section,
    main,
    require_range,
)
from jaxmodels.train.evaluation import map_examples
from jaxmodels.train.experiment import take_all

_STATISTICS = 512  # sounds of which the mean of spectrograms is taken


@dataclass(frozen=True, kw_only=True)
class SpeechSynthesisConfig(Config):
    """Train, resume and evaluate a network that says words, and let it say others."""

    experiment: ClassVar[str] = "speech_synthesis"

    run: Section[RunConfig] = RunConfig(steps=600, batch_size=32, eval_every=300, log_every=100)
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[AudioConfig] = AudioConfig(data="clear_tones")
    model: Section[FlowSpeechConfig] = FlowSpeechConfig(width=64, depth=4)
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw", learning_rate=2e-3, weight_decay=0.01, schedule="cosine", clip=1.0
    )
    judge: Section[JudgeConfig] = JudgeConfig()
    frames: Section[FramesConfig] = FramesConfig()
    sounding: Section[SoundingConfig] = SoundingConfig()
    texts: Section[TextsConfig] = TextsConfig()

    integration: Annotated[int, Role.READ] = 12
    """Steps from noise to a spectrogram."""
    temperature: Annotated[float, Role.READ] = 0.7
    """Standard deviation of that noise."""
    ema: float = 0.99
    """Decay of the average of parameters for evaluation; 0: no average."""
    voice: Annotated[str, Role.VERB] = ""
    """The speaker of --mode predict; empty: the first one."""

    def validate(self) -> None:
        super().validate()
        require_range(self, ("ema",), 0, 1)
        require_range(self, ("temperature",))
        require_range(self, ("integration",), 1)


def build(config: SpeechSynthesisConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the sounds that it names or on those in memory:
    {"train": [(samples, word), ...], "test": [...]}."""
    given = data
    data = load_sounds(config.data, data, centred=False)
    texts, mel = texts_of(data.class_names, config.texts), config.frames.mel(data.rate)
    sounding = Sounding(config.sounding, mel)
    voices = _voices(data)
    if config.voice and config.voice not in voices.names:
        raise InputError(f"voice = {config.voice}; expected one of {', '.join(voices.names)}")
    sources: dict[str, Any] = {
        split: _source(config, data, split, texts, voices) for split in data.sizes
    }
    mean, deviation = _statistics(data, sources[TRAIN], mel)
    flow = _flow(config, (len(texts.units), len(voices.names), mel.bands))
    frames = mel.frames(data.samples)

    def prepare(batch, key):
        values = log_mel(as_float(batch["sound"]), mel)
        mask = frame_mask(batch["length"], frames, mel.transform)
        return {
            **{name: value for name, value in batch.items() if name in ("valid", "position")},
            "features": (values - mean) / deviation * mask[..., None],
            "count": jnp.sum(mask, axis=1).astype(jnp.int32),
            "spoken": Spoken(batch["tokens"], batch["speaker"]),
        }

    def say(state, batch, key):
        """Makes sounds of texts, and how many samples each has."""
        positions = batch.get("position", across.positions(len(batch["tokens"])))
        noise = normal_frames(example_keys(key, positions), (frames, mel.bands))
        return say_from(state, {**batch, "noise": noise})

    def say_from(state, batch):
        spoken = Spoken(batch["tokens"], batch["speaker"])
        features, count = flow.generate(state, spoken, batch["noise"])
        inside = jnp.arange(frames)[None] < count[:, None]
        silence = np.log(mel.floor)
        features = jnp.where(inside[..., None], features * deviation + mean, silence)
        sound = sounding(features, data.samples)
        length = jnp.minimum((count - 1) * mel.hop + mel.hop // 2, data.samples)
        return {"sound": silence_behind(sound, length), "length": length}

    listens = given is None or isinstance(data, Absent) or bool(config.judge.judge)
    judge = Judge(config.judge, config.data, data) if listens else None
    scores = {**FlowMatching.scores, **(SCORES if judge else {})}
    writer = SoundWriter(config.run.output, data.rate)
    return Experiment(
        objective=with_preprocessing(flow, prepare),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="loss",
        scores=scores,
        facts={
            "data": data.facts(),
            **texts.facts(),
            **fingerprint_of_g2p(config.texts),
            "voices": list(voices.names),
            "normalization": {"mean": mean, "std": deviation},
        },
        after_evaluation=partial(
            report, data, texts.words, voices, mel, say, judge, sounding.record
        ),
        require_scorable=partial(judge.prepare, voices.speakers) if judge else take_all,
        prediction=Prediction(
            read=partial(read_texts, texts=texts, speaker=_speaker(config, voices)),
            predict=say,
            write=writer,
        ),
        exports=voice_programs(say_from, mel, data, texts, voices.names),
        metadata={**data.metadata(), "speakers": list(voices.speakers)},
        introduction=f"{data.summary()}\nvoices: {', '.join(voices.names)}",
    )


def _flow(config: SpeechSynthesisConfig, sizes: tuple[int, int, int]) -> FlowMatching:
    """Makes the objective of so many units, voices and bands."""
    return FlowMatching(
        config.model.create(*sizes, jnp.dtype(config.compute.precision)),
        config.optimizer,
        config.run.steps,
        config.ema,
        config.integration,
        config.temperature,
        config.compute.accumulate,
    )


def _statistics(data: SoundData, train: Any, mel: Mel) -> tuple[float, float]:
    """Returns mean and standard deviation of spectrograms, as the run has recorded them where the
    sounds are absent."""
    if isinstance(data, Absent):
        found = data.kept.facts["normalization"]
        return found["mean"], found["std"]
    return statistics(train, mel)


def statistics(source: Source, mel: Mel) -> tuple[float, float]:
    """Computes mean and standard deviation of the spectrograms of some training sounds, from all
    over the split, which may be in the order of its classes or speakers."""
    count = min(_STATISTICS, source.size)
    rows = np.arange(count) * source.size // count
    columns = source.examples(rows)

    def spectrograms(state, batch, key):
        return log_mel(as_float(batch["sound"]), mel)

    values = map_examples(spectrograms, {}, {"sound": columns["sound"]})
    mask = frame_mask(jnp.asarray(columns["length"]), values.shape[1], mel.transform)
    found = np.asarray(values, np.float64)[np.asarray(mask) > 0]
    # Few digits, so that other machines find the same.
    return float(f"{found.mean():.3g}"), float(f"{found.std():.3g}")


def _voices(data: SoundData) -> Voices:
    """Finds the voices of all splits; one without a name where none is known."""
    if isinstance(data, Absent):
        speakers = tuple(data.kept.values["speakers"])
        return Voices(tuple(name or "unknown" for name in speakers), speakers)
    known = {name for split in data.sizes for name in data.known(split, "speaker").tolist()}
    names = sorted(name.decode() for name in known)
    return Voices(tuple(name or "unknown" for name in names), tuple(names))


def _source(
    config: SpeechSynthesisConfig, data: SoundData, split: str, texts: Texts, voices: Voices
) -> Source:
    if isinstance(data, AbsentSounds):
        return data.source(split)
    tokens = np.stack([texts.tokens(word) for word in texts.words])
    numbers = voices.numbers(data.known(split, "speaker"))
    streamed = is_streamed(data, config.data)
    return spoken_source(data, split, Said(tokens, numbers, streamed, config.data.workers))


def _speaker(config: SpeechSynthesisConfig, voices: Voices) -> int:
    return voices.names.index(config.voice) if config.voice else 0


if __name__ == "__main__":
    sys.exit(main(SpeechSynthesisConfig, build, PRESETS))
