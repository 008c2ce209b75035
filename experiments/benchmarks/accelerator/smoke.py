"""Every experiment end to end through its command line: train, evaluate, sample."""

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
    """Runs the experiments and adds a row for each command.

    The classifier comes first, because it judges the samples of the others, which run together.

    Raises:
      RuntimeError: a command failed.
    """
    folder = setting.runs / "smoke"
    shutil.rmtree(folder, ignore_errors=True)
    failed = _experiment("classifier", setting, folder, results)
    with ThreadPoolExecutor() as threads:
        others = [name for name in FLAGS if name != "classifier"]
        for names in threads.map(lambda n: _experiment(n, setting, folder, results), others):
            failed += names
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")


def _experiment(name: str, setting: Setting, folder: Path, results: Results) -> list[str]:
    """Runs the modes of an experiment one after the other; the names of those that failed."""
    workdir = folder / name
    train = (TINY if setting.miniature else FLAGS)[name].split()
    if name in JUDGED and "--scored 0" not in " ".join(train):
        train += ["--judge", str(folder / "classifier")]
    modes = {"train": train}
    # In miniature training alone, whose last step evaluates.
    if not setting.miniature:
        modes["evaluate"] = ["--mode", "evaluate"]
        if name in JUDGED:
            output = str(workdir / "drawn.npz")
            modes["sample"] = ["--mode", "sample", "--count", "16", "--output", output]
    failed = []
    for mode, flags in modes.items():
        arguments = ["--workdir", str(workdir), *flags]
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
        if code != 0:
            failed.append(f"{name} {mode}")
            break
    return failed
