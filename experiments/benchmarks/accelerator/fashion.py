"""Trains the preset fashion-resnet18 for the time left; the next call resumes the run."""

import os
import signal
from pathlib import Path

from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import Command, OutOfTime, Setting
from jaxmodels.files import read_lines

DATA = "fashion_mnist"
TINY = "--variant tiny --steps 4 --warmup-steps 1 --eval-every 4 --checkpoint-every 4 --log-every 2"
# Seconds to end a chunk of steps or an evaluation, and to save, after the request to stop.
_MARGIN = 25
_FINISHED, _STOPPED = 0, 75


def run(setting: Setting, results: Results) -> None:
    """Trains, and adds a row for each evaluation of the run so far.

    Raises:
      RuntimeError: the training failed.
    """
    if not _is_there(setting.data_dir):
        results.note(f"{DATA} is not in the folder of data sets; name it with --data-dir DIR")
        results.end("skipped")
        return
    workdir = setting.runs / "fashion"
    arguments = ["--preset", "fashion-resnet18", "--workdir", str(workdir)]
    arguments += ["--data-dir", setting.data_dir] if setting.data_dir else []
    arguments += TINY.split() if setting.miniature else []
    command = Command(setting, "experiments.classifier", arguments, setting.runs / "logs/fashion")
    try:
        ended = command.stop_after(setting.left() - _MARGIN)
    except OutOfTime:
        ended = None
    _add_rows(workdir, results)
    if ended is None:
        results.note("killed at its deadline; the same command goes on from the last checkpoint")
    elif ended.code == _STOPPED:
        results.note(f"stopped in time; the same command goes on: {ended.last_line}")
    elif ended.code == -signal.SIGTERM:
        results.note("stopped before its first step; give it more --minutes")
    elif ended.code == _FINISHED:
        results.note(f"finished: {ended.last_line}")
    else:
        raise RuntimeError(f"ended with {ended.code}: {ended.errors}")


def _is_there(data_dir: str | None) -> bool:
    default = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    return (Path(data_dir) if data_dir else default).joinpath(DATA).is_dir()


def _add_rows(workdir: Path, results: Results) -> None:
    """Adds the scores of all evaluations, with the pace and the seconds of training until then."""
    speeds = read_lines(workdir / "speed.jsonl")
    for line in read_lines(workdir / "metrics.jsonl"):
        if line["split"] == "train":
            continue
        before = [speed for speed in speeds if speed["step"] <= line["step"]]
        rates = sorted(speed["steps_per_second"] for speed in before)
        results.add(
            step=line["step"],
            split=line["split"],
            accuracy=line["accuracy"],
            loss=line["loss"],
            steps_per_second=rates[len(rates) // 2] if rates else None,
            seconds=before[-1]["seconds"] if before else None,
        )
