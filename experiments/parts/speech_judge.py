"""The judge of synthesised speech: a frozen classifier of words, of experiments.speech_commands."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from experiments import speech_commands
from experiments.parts.judges import Indented
from jaxmodels.cache import cache_folder
from jaxmodels.data.audio import AudioConfig
from jaxmodels.errors import InputError, Stopped
from jaxmodels.files import is_path
from jaxmodels.train import Role, configure, train
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
    """A classifier that writes down what it hears; it is loaded or trained at the first use."""

    def __init__(self, config: JudgeConfig, data: AudioConfig, fingerprint: str):
        self._config, self._data, self._fingerprint = config, data, fingerprint
        self._runs: dict[str, Run] = {}  # by speaker
        self._loaded: dict[str, Run] = {}  # by folder

    def require(self, names: Sequence[str], speakers: Sequence[str]) -> None:
        """Raises InputError for a named judge of one of the speakers that is missing or knows other
        words."""
        for folder in sorted(set(self._named(speakers).values())):
            record = RunFolder(folder).record("judge")
            if record is None or record["experiment"] != "speech_commands":
                raise InputError(
                    f"judge {folder} holds no run of 'speech_commands'; name one, or leave"
                    " --judge out"
                )
            known = record["facts"]["data"]["classes"]
            if known != list(names):
                raise InputError(
                    f"judge {folder} knows the words {', '.join(known)}; expected"
                    f" {', '.join(names)}"
                )

    def hear(self, sounds: Sequence[np.ndarray], speakers: Sequence[str]) -> list[str]:
        """Returns the class of each sound, floats of -1..1 at the rate of the judge.

        speakers: whose voice each sound has.
        """
        if new := sorted(set(speakers) - self._runs.keys()):
            folders = self._named(new) or dict.fromkeys(new, self._trained())
            for speaker, folder in folders.items():
                self._runs[speaker] = self._opened(folder)
        heard = [""] * len(sounds)
        for speaker in set(speakers):
            rows = [row for row, other in enumerate(speakers) if other == speaker]
            lines = self._runs[speaker].predict([sounds[row] for row in rows])
            for row, line in zip(rows, lines):
                heard[row] = line["label"]
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

    def _trained(self) -> str:
        """Trains the classifier, unless it is kept; returns its run folder."""
        data, steps = self._data, self._config.judge_steps
        changes: dict[str, Any] = {
            "seconds": data.seconds,
            "rate": data.rate,
            "validation_fraction": 0.0,
            "skip_bad_records": data.skip_bad_records,
            "shift": 0.1,
            "gain": 6.0,
            "noise": 0.5,
            "steps": steps,
            "eval_every": steps,
            "log_every": steps,
            "mesh": "data=1",
            "accept_code_change": True,
        }
        name = str(Path(data.data).expanduser().resolve()) if is_path(data.data) else data.data
        config = configure(speech_commands.SpeechCommandsConfig(), data=name, **changes)
        if data.data_dir:
            config = configure(config, data_dir=str(Path(data.data_dir).expanduser().resolve()))
        folder = f"speech-{Path(name).name}-{self._fingerprint}-{steps}-{data.seconds:g}"
        workdir = str(cache_folder("judges") / folder)
        print(f"judge: a classifier of {data.data}, which is kept in {workdir}", file=sys.stderr)
        said = Indented(sys.stderr)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = train(speech_commands.build, configure(config, workdir=workdir))
        if not result.finished:
            raise Stopped(f"stopped while training the judge in {workdir}; run it again")
        return workdir
