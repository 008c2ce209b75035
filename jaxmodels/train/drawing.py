"""What is drawn of a run from its files: curves, event files, the report."""

import sys

from jaxmodels.pictures import save_figure
from jaxmodels.report import write_report
from jaxmodels.train.curves import curves_figure
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.tensorboard import write_events


def draw(folder: RunFolder) -> None:
    """Draws it all anew; what fails is noted, since the result matters more than its picture."""
    lines = folder.lines()
    try:
        if figure := curves_figure(lines):
            save_figure(figure, folder.path / "curves.png")
        write_events(lines, folder.tensorboard)
        write_report(folder.path)
    except Exception as error:
        print(f"note: the report could not be drawn: {error!r}", file=sys.stderr)
