"""The judge of synthesised speech: a frozen classifier of words, of experiments.speech_commands."""

import contextlib
import dataclasses
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from experiments import speech_commands
from experiments.parts.judges import Indented
from jaxmodels.cache import cache_folder
from jaxmodels.data.audio import AudioConfig, SoundData
from jaxmodels.data.dataset import TRAIN
from jaxmodels.errors import InputError, Stopped
from jaxmodels.files import is_path
from jaxmodels.train import Role, configure, train
from jaxmodels.train.identity import workdir_of
from jaxmodels.train.modes import Run, load_run
from jaxmodels.train.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who listens to what is synthesised."""

    judge: Annotated[str, Role.READ] = ""
    """Run folder of experiments.speech_commands, whose classes are the words, or the folder of its
    --folds speakers: each voice is heard by the run that has left its speaker out. Empty: a
    classifier of these sounds, which is trained once and kept."""
    judge_steps: Annotated[int, Role.READ] = 400
    """Steps of the classifier that is trained."""


class Judge:
    """A classifier that writes down what it hears; it is loaded at the first use.

    data: the flags by which the sounds were loaded.
    """

    def __init__(self, config: JudgeConfig, data: AudioConfig, sounds: SoundData):
        self._config, self._data, self._sounds = config, data, sounds
        self._runs: dict[str, Run] = {}  # by speaker
        self._loaded: dict[str, Run] = {}  # by folder

    def prepare(self, speakers: Sequence[str], splits: Collection[str]) -> None:
        """Looks at the judge that is named, or trains one unless it is kept or there is nothing to
        hear.

        Raises:
          InputError: a named judge of one of the speakers that is missing, knows other words, or
            hears sounds of another rate.
          Stopped: on request, while training.
        """
        for folder in sorted(set(self._named(speakers).values())):
            self._require(folder)
        if splits and not self._config.judge:
            _ = self._trained  # now, not after the last step

    def _require(self, folder: str) -> None:
        record = RunFolder(folder).record("judge")
        if record is None or record["experiment"] != "speech_commands":
            raise InputError(
                f"judge {folder} holds no run of 'speech_commands'; name one, or leave --judge out"
            )
        data, names = record["facts"]["data"], self._sounds.class_names
        if data["classes"] != list(names):
            raise InputError(
                f"judge {folder} knows the words {', '.join(data['classes'])}; expected"
                f" {', '.join(names)}"
            )
        if data["rate"] != self._sounds.rate:
            raise InputError(
                f"judge {folder} hears sounds of {data['rate']:,} Hz; expected"
                f" {self._sounds.rate:,}, as they are made: train it with --rate"
                f" {self._sounds.rate}"
            )

    def hear(self, sounds: Sequence[np.ndarray], speakers: Sequence[str]) -> list[str]:
        """Returns the class of each sound, floats of -1..1 at the rate of the judge; "" where it
        hears none, as in a sound that is not finite.

        speakers: whose voice each sound has.
        """
        if new := sorted(set(speakers) - self._runs.keys()):
            folders = self._named(new) or dict.fromkeys(new, self._trained)
            for speaker, folder in folders.items():
                self._runs[speaker] = self._opened(folder)
        heard = [""] * len(sounds)
        finite = [row for row, sound in enumerate(sounds) if np.isfinite(sound).all()]
        for speaker in {speakers[row] for row in finite}:
            rows = [row for row in finite if speakers[row] == speaker]
            lines = self._runs[speaker].predict([sounds[row] for row in rows])
            for row, line in zip(rows, lines):
                heard[row] = line.get("label", "")
        return heard

    def record(self) -> dict[str, Any]:
        """Says who has listened, for each speaker where these differ."""
        assert self._runs, "nothing was heard"
        found = {
            speaker: {
                "step": run.step,
                "accuracy_on_recordings": run.scores.get("test", {}).get("accuracy"),
            }
            for speaker, run in self._runs.items()
        }
        one = next(iter(found.values()))
        return one if len(self._loaded) == 1 else {"without_the_speaker": found}

    def _named(self, speakers: Sequence[str]) -> dict[str, str]:
        """Finds the run that listens to each speaker, of a judge that is named."""
        if not self._config.judge:
            return {}
        folder = Path(self._config.judge).expanduser()
        folds = {speaker: str(folder / f"fold-{speaker}") for speaker in speakers}
        if any(Path(fold).exists() for fold in folds.values()):
            return folds
        return dict.fromkeys(speakers, str(folder))

    def _opened(self, folder: str) -> Run:
        if folder not in self._loaded:
            config = speech_commands.SpeechCommandsConfig
            self._loaded[folder] = load_run(folder, config, speech_commands.build)
        return self._loaded[folder]

    @cached_property
    def _trained(self) -> str:
        """Trains the classifier, unless it is kept; returns its run folder.

        It learns from the same rows as what it judges. The folder is named by all flags and by the
        content of the data, wherever these lie.
        """
        data, steps = self._data, self._config.judge_steps
        standard = speech_commands.SpeechCommandsConfig()
        config = configure(
            standard,
            **{**dataclasses.asdict(data), "data": self._sounds.name},
            shift=0.1,
            gain=6.0,
            noise=0.5,
            batch_size=min(standard.run.batch_size, self._sounds.sizes[TRAIN]),
            steps=steps,
            eval_every=steps,
            log_every=steps,
            mesh="data=1",
            accept_code_change=True,
        )
        name = f"{workdir_of(config).name}-{self._sounds.fingerprint}"
        workdir = str(cache_folder("judges") / name)
        # The paths are absolute, so that the run can be read from any folder.
        config = configure(config, data=_absolute(data.data) if is_path(data.data) else data.data)
        if data.data_dir:
            config = configure(config, data_dir=_absolute(data.data_dir))
        print(f"judge: a classifier of {data.data}, which is kept in {workdir}", file=sys.stderr)
        said = Indented(sys.stderr)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = train(speech_commands.build, configure(config, workdir=workdir))
        if not result.finished:
            raise Stopped(f"stopped while training the judge in {workdir}; run it again")
        return workdir


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
