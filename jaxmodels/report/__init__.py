"""A run, or several beside one another, as a page that opens offline.

    python -m jaxmodels.report RUN [RUN ...] --output FILE.html

A page is one file that loads nothing from elsewhere, and all text in it that came from data, flags
or names is escaped. Only files of run folders are read, so this needs neither jax nor a model.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxmodels.files import write_text
from jaxmodels.report.comparison import compare, comparison_page
from jaxmodels.report.page import run_page
from jaxmodels.report.run import read_run
from jaxmodels.report.scores import Better

__all__ = ["write_comparison", "write_report"]


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Draws the report of a run from the files in its folder; returns the path of the page.

    output: None: report.html in the folder.

    Raises:
      InputError: the folder holds no run.
    """
    output = Path(folder) / "report.html" if output is None else Path(output)
    write_text(output, run_page(read_run(folder)))
    return output


def write_comparison(
    folders: Sequence[str | Path],
    output: str | Path,
    metric: str | None = None,
    better: Better | None = None,
) -> Path:
    """Draws several runs on one page; returns the path of the page.

    Runs that differ in their seed alone are one result.

    metric: SPLIT/SCORE that sorts them; None: see `comparison.choose_metric`.
    better: which values of the metric come first; None: those that the runs recorded as better.

    Raises:
      InputError: a folder holds no run, or no run has the metric.
    """
    runs = [read_run(folder) for folder in folders]
    write_text(Path(output), comparison_page(compare(runs, metric, better)))
    return Path(output)
