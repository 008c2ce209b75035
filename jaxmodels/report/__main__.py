"""The command line: python -m jaxmodels.report RUN [RUN ...]."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxmodels.errors import InputError
from jaxmodels.files import write_text
from jaxmodels.report import write_report
from jaxmodels.report.comparison import compare, comparison_page
from jaxmodels.report.run import read_run
from jaxmodels.report.scores import Better


@dataclass(frozen=True)
class Arguments:
    """Draw a run, or several for comparison, as one page that opens offline. Runs that differ in
    their seed alone are one result: mean ± standard deviation."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, or folders that hold some, as --repeat makes them."""
    output: Path | None = None
    """File to write; None: report.html in the folder of a single run, else comparison.html here."""
    metric: str | None = None
    """SPLIT/SCORE that sorts several runs, as test/accuracy; None: the monitored score, else the
    first one, of test or of validation."""
    better: Better | None = None
    """Which values of the metric come first; None: those that the runs recorded as better."""


def _runs_in(path: Path) -> list[Path]:
    """Returns the run in a folder, or those in the folders of one that is no run itself."""
    if (path / "config.json").exists():
        return [path]
    return sorted({file.parent for file in path.glob("*/config.json")}, key=_in_order) or [path]


def _in_order(path: Path) -> list:
    """Sorts seed-10 after seed-9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the page; returns the exit code, 0 if it is there and 2 for bad input."""
    given = tyro.cli(Arguments, prog="python -m jaxmodels.report", args=arguments)
    try:
        if not given.runs:
            raise InputError("no run given; name a run folder, as runs/EXPERIMENT/NAME")
        folders = [folder for path in given.runs for folder in _runs_in(path)]
        if len(folders) == 1:
            if given.metric:
                raise InputError(
                    f"metric = {given.metric}; it sorts several runs: name more, or leave it out"
                )
            print(write_report(folders[0], given.output))
        else:
            output = given.output or Path("comparison.html")
            runs = [read_run(folder) for folder in folders]
            comparison = compare(runs, given.metric, given.better)
            write_text(output, comparison_page(comparison))
            print(*comparison.lines(), output, sep="\n")
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
