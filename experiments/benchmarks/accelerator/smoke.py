"""Runs every experiment through its command line: train, evaluate, sample."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import Command, OutOfTime, Setting

_EVERY = "--log-every 50 --eval-every 100 --checkpoint-every 100"
FLAGS = {
    "classifier": f"--steps 200 {_EVERY}",
    "gan": f"--steps 200 {_EVERY} --samples 500",
    "vae": f"--steps 200 {_EVERY} --samples 10 --scored 500",
}
_RARELY = "--log-every 3 --eval-every 6 --checkpoint-every 6"
TINY = {
    "classifier": f"--steps 6 {_RARELY} --batch-size 16 --channels 4 --hidden 8",
    "gan": f"--steps 6 {_RARELY} --batch-size 16 --width 4 --latent-size 4 --samples 60",
    "vae": f"--steps 6 {_RARELY} --batch-size 16 --model mlp --hidden 16 --latent-size 2"
    " --samples 2 --scored 0",
}
JUDGED = ("gan", "vae")


def run(setting: Setting, results: Results) -> None:
    """Trains each experiment, then evaluates and samples; adds a row for each command.

    The classifier is trained first, because it judges the samples of the others.

    Raises:
      RuntimeError: a command failed.
    """
    folder = setting.runs / "smoke"
    shutil.rmtree(folder, ignore_errors=True)

    def passes(case: tuple[str, str]) -> bool:
        return _passes(*case, setting, folder, results)

    trained = [("classifier", "train"), ("gan", "train"), ("vae", "train")]
    read = [(name, "evaluate") for name in FLAGS] + [(name, "sample") for name in JUDGED]
    # Miniatures only train, which ends with an evaluation.
    together = [trained[:1], trained[1:], [] if setting.miniature else read]
    failed = []
    for cases in together:
        with ThreadPoolExecutor() as threads:
            passed = list(threads.map(passes, cases))
        failed += [" ".join(case) for case, good in zip(cases, passed) if not good]
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")


def _passes(name: str, mode: str, setting: Setting, folder: Path, results: Results) -> bool:
    """Runs one command and adds its row; returns whether it exits with 0."""
    arguments = ["--workdir", str(folder / name), *_flags(name, mode, setting, folder)]
    command = Command(setting, f"experiments.{name}", arguments, folder / f"{name}-{mode}")
    try:
        code, line, errors, seconds = command.wait()
    except OutOfTime as error:
        code, line, errors, seconds = "killed", "", str(error), None
    results.add(
        experiment=name,
        mode=mode,
        exit_code=code,
        seconds=seconds,
        last_line=line,
        detail={"flags": arguments, "errors": errors},
    )
    return code == 0


def _flags(name: str, mode: str, setting: Setting, folder: Path) -> list[str]:
    if mode == "evaluate":
        return ["--mode", "evaluate"]
    if mode == "sample":
        output = str(folder / f"{name}.npz")
        return ["--mode", "sample", "--count", "16", "--output", output]
    flags = (TINY if setting.miniature else FLAGS)[name]
    judged = name in JUDGED and "--scored 0" not in flags
    return flags.split() + (["--judge", str(folder / "classifier")] if judged else [])
