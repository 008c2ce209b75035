"""The command line of experiments.benchmarks.accelerator."""

import functools
import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from experiments.benchmarks.accelerator import (
    convolution,
    fashion,
    language_model,
    resume,
    smoke,
    steps,
)
from experiments.benchmarks.accelerator.results import Results, tables
from experiments.benchmarks.accelerator.setting import Command, OutOfTime, Setting
from jaxmodels.errors import InputError, require_known
from jaxmodels.train import require_range


class Part(NamedTuple):
    """A part. It starts only with `least` seconds left, and may take at most `most` seconds."""

    run: Callable[[Setting, Results], None]
    least: float
    most: float


def _steps(name: str, most: float) -> Part:
    return Part(functools.partial(steps.run, name), 25, most)


PARTS = {
    "smoke": Part(smoke.run, 20, 120),
    "resume": Part(resume.run, 40, 150),
    "classifier": _steps("classifier", 90),
    "resnet18": _steps("resnet18", 120),
    "resnet50": _steps("resnet50", 200),
    "dcgan": _steps("dcgan", 100),
    "vae": _steps("vae", 90),
    "language_model": Part(language_model.run, 60, 300),
    "convolution": Part(convolution.run, 20, 100),
    "fashion": Part(fashion.run, 45, math.inf),
}
_ANSWER = 90  # seconds in which the device has to answer


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """Check and time this project on a machine with a GPU."""

    parts: tuple[str, ...] = tuple(PARTS)
    """Which of smoke, resume, classifier, resnet18, resnet50, dcgan, vae, language_model,
    convolution, fashion, in the order in which they run."""
    minutes: float = 8.0
    """Time for all parts; those that do not fit are left out, and fashion takes the rest."""
    output: str = "runs/accelerator/results"
    """Folder of results, one JSON file per part."""
    runs: str = "runs/accelerator"
    """Folder of runs, logs and compiled programs; fashion resumes its run there."""
    data_dir: str | None = None
    """Folder of tfds data sets, with fashion_mnist; None: tfds's own default."""
    tf32: bool = True
    """Let float32 products round their factors to TF32 on a GPU, in jax and in PyTorch."""
    turns: int = 5
    """Timed turns of each peer."""
    seconds: float = 0.5
    """Approximate seconds of a turn."""
    table: str | None = None
    """Only print the tables of the results in this folder, in Markdown."""

    def validate(self) -> None:
        """Raises InputError for an unknown part or a number out of range."""
        for part in self.parts:
            require_known("part", part, PARTS)
        require_range(self, ("turns",), 1.0)
        for name in ("minutes", "seconds"):
            require_range(self, (name,), 1e-6)


def main(arguments: list[str] | None = None) -> int:
    """Runs the parts; returns the exit code: 0, 1 if one failed, 2 for bad input."""
    config = tyro.cli(AcceleratorConfig, args=arguments)
    try:
        if config.table:
            print(tables(Path(config.table), tuple(PARTS)))
            return 0
        config.validate()
        return 1 if run(config) else 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(config: AcceleratorConfig) -> list[str]:
    """Runs the parts one after the other; returns the names of those that failed."""
    end = time.monotonic() + 60 * config.minutes
    setting = Setting(
        device={},
        runs=Path(config.runs),
        deadline=end,
        data_dir=config.data_dir,
        tf32=config.tf32,
        turns=config.turns,
        seconds=config.seconds,
    )
    setting = setting._replace(device=_device(setting))
    if setting.miniature:
        print("no accelerator: everything in miniature", flush=True)
        setting = setting._replace(turns=1, seconds=min(config.seconds, 0.02))
    failed = []
    for name in config.parts:
        results = Results(Path(config.output), name, setting.device)
        print(f"\n{name}", flush=True)
        _run_part(name, setting, end, results)
        print(f"{name}: {results.status}", flush=True)
        if results.status == "failed":
            failed.append(name)
    return failed


def _run_part(name: str, setting: Setting, end: float, results: Results) -> None:
    """Runs a part within its own time and the time left; records any error."""
    part, left = PARTS[name], end - time.monotonic()
    if left < part.least and not setting.miniature:
        results.note(f"left out: {left:.0f} s were left")
        results.end("skipped")
        return
    # Miniatures have no limit of their own, because a busy CPU may take any time for them.
    most = math.inf if setting.miniature else part.most
    setting = setting._replace(deadline=min(end, time.monotonic() + most))
    try:
        part.run(setting, results)
    except Exception as error:  # the other parts go on
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        results.end("failed", traceback.format_exc())
        return
    if results.status == "running":
        results.end("done")


def _device(setting: Setting) -> dict[str, Any]:
    """Asks for the facts of the device in another process, so that this one never takes it.

    Raises:
      InputError: jax does not start, or sees no GPU where PyTorch does.
    """
    log = setting.runs / "logs" / "device"
    command = Command(setting, "experiments.benchmarks.accelerator.device", [], log)
    try:
        ended = command.wait(_ANSWER)
    except OutOfTime as error:
        raise InputError(f"the device did not answer in {_ANSWER} s: {error}") from None
    if ended.code:
        raise InputError(f"jax does not start: {ended.errors}")
    facts = json.loads(ended.last_line)
    if facts["platform"] == "cpu" and facts.get("torch_device", "cpu") != "cpu":
        raise InputError(
            f"jax sees no GPU, but PyTorch sees {facts['torch_device']}; install jax[cuda13] (or"
            f" the plugin for this CUDA), or hide the GPU: CUDA_VISIBLE_DEVICES=. {ended.errors}"
        )
    return facts


if __name__ == "__main__":
    sys.exit(main())
