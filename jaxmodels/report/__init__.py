"""A run, or several beside one another, as a page that opens offline.

    python -m jaxmodels.report RUN [RUN ...] --output FILE.html

A page is one file without anything from elsewhere, and all text in it that came from data, flags or
names is escaped. Only files of run folders are read: importing this needs neither jax nor a model.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxmodels.report.comparison import comparison_page
from jaxmodels.report.page import run_page
from jaxmodels.report.run import read_run

__all__ = ["write_comparison", "write_report"]


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Draws the report of a run from the files in its folder; where it is written to.

    output: None: report.html in the folder.

    Raises:
      InputError: the folder holds no run.
    """
    output = Path(folder) / "report.html" if output is None else Path(output)
    _write(output, run_page(read_run(folder)))
    return output


def write_comparison(
    folders: Sequence[str | Path],
    output: str | Path,
    metric: str | None = None,
    lower: bool | None = None,
) -> Path:
    """Draws several runs on one page; where it is written to.

    metric: SPLIT/SCORE that sorts them; lower: whether less of it is better. None: see
    `comparison.choose`.

    Raises:
      InputError: a folder holds no run, or no run has the metric.
    """
    _write(Path(output), comparison_page([read_run(folder) for folder in folders], metric, lower))
    return Path(output)


def _write(path: Path, text: str) -> None:
    """Replaces a file as a whole: a kill leaves the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    # Half a surrogate pair may stand in JSON but not in a file.
    partial.write_bytes(text.encode("utf-8", "replace"))
    os.replace(partial, path)
