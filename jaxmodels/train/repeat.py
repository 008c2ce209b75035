"""Several seeds of one experiment, or folds of its data, one after another, as one result.

Each is a run of its own in a folder seed-N (fold-N) below one folder. The page and the summary read
these folders alone, whichever program has filled them.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmodels.errors import InputError, RunError
from jaxmodels.report import write_comparison
from jaxmodels.report.groups import Group, Spread
from jaxmodels.report.run import read_run
from jaxmodels.train.config import Config, configure
from jaxmodels.train.hosts import by_first
from jaxmodels.train.identity import repeats_folder_of
from jaxmodels.train.run_folder import RunFolder

if TYPE_CHECKING:
    from jaxmodels.train.trainer import Result

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"


def runs_of(config: Config) -> list[Config]:
    """Returns the configs of all seeds or folds: of one run each, in its own folder.

    Raises:
      InputError: the folder holds a run, or a mode that does not train.
    """
    run, folder, several = config.run, repeats_folder_of(config), config.several
    kind, first = _kind_of(config), next(iter(several))
    flag = "repeat" if kind == "seed" else f"{kind}s"
    if run.mode != "train" or run.debug:
        asked = "--debug" if run.debug else f"mode = {run.mode}"
        raise InputError(
            f"{flag} = {len(several)} only trains, and {asked} is of one run; leave --{flag} out"
            f" and name a {kind}'s folder, --workdir {folder / first}"
        )
    if (folder / "config.json").exists():
        raise InputError(
            f"workdir {folder} holds a run; expected a folder for {len(several)} of them: name"
            f" another --workdir, or leave --{flag} out"
        )
    return [
        configure(
            config,
            **flags,
            workdir=str(folder / name),
            mirror=run.mirror and f"{run.mirror.rstrip('/')}/{name}",
            repeat=1,
        )
        for name, flags in several.items()
    ]


def _kind_of(config: Config) -> str:
    """Returns what the runs differ in: "seed" or "fold"."""
    return next(iter(config.several)).rpartition("-")[0]


def train_seeds(config: Config, train: Callable[[Config], "Result"]) -> tuple[str, str]:
    """Trains the seeds or folds that have not finished; returns what became of all, and the last
    line on standard output.

    One that fails does not keep the others from training.

    train: trains or resumes the run of a config.
    """
    configs, kind = runs_of(config), _kind_of(config)
    finished: list[Path] = []
    outcome = FINISHED
    for number, each in enumerate(configs, 1):
        named = Path(str(each.run.workdir)).name.replace("-", " ")
        print(f"{named}: {number} of {len(configs)}", file=sys.stderr, flush=True)
        try:
            result = train(each)
        except RunError as error:
            print(f"failed: {named}: {error}", file=sys.stderr, flush=True)
            outcome = FAILED
            continue
        if not result.finished:
            steps = each.run.steps
            print(f"stopped at step {result.step} of {steps} of {named}; the same command goes on")
            outcome = STOPPED
            break
        if result.reason:
            print(f"ended at step {result.step:,} of {each.run.steps:,}: {result.reason}")
        print(RunFolder(result.workdir).summary(result.step), flush=True)
        finished.append(result.workdir)
    folder = repeats_folder_of(config)
    _draw(folder, [Path(str(each.run.workdir)) for each in configs])
    return outcome, summary(folder, len(configs), finished, kind)


@by_first
def _draw(folder: Path, runs: list[Path]) -> None:
    """Draws the page of all runs that have begun; a failure is only noted."""
    begun = [path for path in runs if (path / "config.json").exists()]
    try:
        if begun:
            write_comparison(begun, folder / "comparison.html")
    except Exception as error:
        print(f"note: comparison.html could not be drawn: {error!r}", file=sys.stderr)


def summary(folder: Path, count: int, finished: list[Path], kind: str = "seed") -> str:
    """Formats the result of the runs that finished, for scripts: mean±sd of each last score."""
    parts = [f"{kind}s={count}", f"finished={len(finished)}"]
    if finished:
        group = Group("", [read_run(path) for path in finished])
        first = group.runs[0]
        if first.judged:
            parts += [
                f"{first.judged}/{name}={_written(group.last(f'{first.judged}/{name}'))}"
                for name in first.scores(first.judged)
            ]
        if first.monitor in first.best_scores:
            parts.append(f"best/{first.monitor}={_written(group.best(first.monitor))}")
    return " ".join([*parts, f"workdir={folder}"])


def _written(spread: Spread) -> str:
    """Writes 0.98611±0.0012, without the deviation of a single seed."""
    if spread.mean is None:
        return "nan"
    deviation = "" if spread.deviation is None else f"±{spread.deviation:.2g}"
    return f"{spread.mean:.5g}{deviation}"
