"""The command line: python -m jaxmodels.report RUN [RUN ...]."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxmodels.errors import InputError
from jaxmodels.report import write_comparison, write_report
from jaxmodels.report.scores import Better


@dataclass(frozen=True)
class Arguments:
    """Draw a run, or several for comparison, as one page that opens offline."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders."""
    output: Path | None = None
    """File to write; None: report.html in the folder of a single run, else comparison.html here."""
    metric: str | None = None
    """SPLIT/SCORE that sorts several runs, as test/accuracy; None: the monitored score, else the
    first one, of test or of validation."""
    better: Better | None = None
    """Which values of the metric come first; None: those that the runs recorded as better."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the page; returns the exit code, 0 if it is there and 2 for bad input."""
    given = tyro.cli(Arguments, prog="python -m jaxmodels.report", args=arguments)
    try:
        if not given.runs:
            raise InputError("no run given; name a run folder, as runs/EXPERIMENT/NAME")
        if len(given.runs) == 1:
            if given.metric:
                raise InputError(
                    f"metric = {given.metric}; it sorts several runs: name more, or leave it out"
                )
            print(write_report(given.runs[0], given.output))
        else:
            output = given.output or Path("comparison.html")
            print(write_comparison(given.runs, output, given.metric, given.better))
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
