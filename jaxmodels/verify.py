"""Whether this machine reproduces a run bit for bit: python -m jaxmodels.verify RUN [RUN ...].

It compares the files of a run with their checksums, and computes two stretches of steps again: the
first, and one from a checkpoint that --seed chooses. Exit code 0: reproduced. 1: not reproduced, or
damaged. 2: bad input. Nothing is written into the folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxmodels.commands import BAD, GOOD, exit_code_of
from jaxmodels.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Compute the first steps of a run, and some later ones, again, and say whether they are
    reproduced bit for bit; check its files. Exit code 0: yes; 1: no, or damaged; 2: bad input."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders."""
    steps: int | None = None
    """Steps of each stretch, to the last line or checkpoint within them; None: to the next one."""
    seed: int = 0
    """Chooses the checkpoint at which the later stretch begins."""
    files_only: bool = False
    """Check the files alone; this needs neither the code nor the data of the run."""
    module: str | None = None
    """Module or file of the run's script; None: experiments.NAME."""
    data: str | None = None
    """Replaces --data where a folder has moved."""
    data_dir: str | None = None
    """Replaces --data-dir where it has moved."""


def verify(given: Arguments, path: Path) -> bool:
    """Prints what was found of a run; returns whether it is sound and reproduced.

    Raises:
      InputError: there is no such run, or its code or data is not found.
    """
    from jaxmodels.train.run_folder import RunFolder
    from jaxmodels.train.soundness import soundness_of

    folder = RunFolder(path)
    if folder.record() is None:
        raise InputError(f"{path} holds no run; name a run folder, as runs/EXPERIMENT/NAME")
    print(f"{path}:")
    found = soundness_of(folder)
    for line in found.damage:
        print(f"  DAMAGED: {line}")
    if not found.damage:
        print(
            f"  files as written: {len(found.checkpoints)} checkpoints"
            f" ({sum(found.checkpoints.values())} arrays), {found.lines} lines of metrics"
        )
    if given.files_only:
        return not found.damage
    return _rerun(given, path, set(found.checkpoints)) and not found.damage


def _rerun(given: Arguments, path: Path, whole: set[int]) -> bool:
    from jaxmodels.train.recorded import open_run
    from jaxmodels.train.reproduction import reproduce, stretches_of

    run = open_run(path, given.module, given.data, given.data_dir)
    for note in run.notes:
        print(f"  note: {note} since the run began; bits may differ", flush=True)
    if not run.states:
        print("  note: the run recorded no states; its lines and checkpoints are compared")
    good = True
    stretches = stretches_of(run, whole, given.steps, given.seed)
    for stretch in stretches:
        found = reproduce(run, stretch)
        good = good and not found.differences
        if found.differences:
            print(f"  {stretch}: NOT reproduced, first at {found.differences[0]}")
            for line in found.differences[1:]:
                print(f"    {line}")
        else:
            print(
                f"  {stretch}: reproduced (states: {found.states}, lines of metrics: {found.lines},"
                f" checkpoints: {found.checkpoints})",
                flush=True,
            )
    if len(stretches) == 1:
        print("  no checkpoint has a line after it: the first steps alone were computed")
    return good


def _verify_all(given: Arguments) -> int:
    if not given.runs:
        raise InputError("no run given; name a run folder, as runs/EXPERIMENT/NAME")
    if given.steps is not None and given.steps < 1:
        raise InputError(f"steps = {given.steps}; expected at least 1")
    good = [verify(given, path) for path in given.runs]
    return GOOD if all(good) else BAD


def main(arguments: Sequence[str] | None = None) -> int:
    """Verifies runs; returns the exit code."""
    given = tyro.cli(Arguments, prog="python -m jaxmodels.verify", args=arguments)
    return exit_code_of(lambda: _verify_all(given))


if __name__ == "__main__":
    sys.exit(main())
