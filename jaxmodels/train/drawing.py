"""The pictures of a run, drawn from its files: curves, event files, the report."""

import sys

from jaxmodels.pictures import save_figure
from jaxmodels.report import write_report
from jaxmodels.train.curves import curves_figure
from jaxmodels.train.hosts import by_first
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.tensorboard import write_events


@by_first
def draw(folder: RunFolder) -> None:
    """Draws them anew; a failure is only noted, since a run matters more than its pictures."""
    lines = folder.lines()
    try:
        if figure := curves_figure(lines):
            save_figure(figure, folder.path / "curves.png")
        write_events(lines, folder.tensorboard)
        write_report(folder.path)
    except Exception as error:
        print(f"note: the report could not be drawn: {error!r}", file=sys.stderr)
