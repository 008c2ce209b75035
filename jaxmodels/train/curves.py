"""The curves of a run's scores, drawn from the lines of metrics.jsonl."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure  # slow, so only `curves_figure` imports it at run time

# Colours that colour-blind people can tell apart (Okabe & Ito).
COLOURS = {"train": "#999999", "validation": "#0072b2", "test": "#d55e00"}
OTHER_COLOURS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def curves_figure(lines: Sequence[dict]) -> "matplotlib.figure.Figure | None":
    """Draws a panel per score with a curve per split; None where no line has a score.

    A score that a split has only once is a dot.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for line in lines for n in line if n not in ("step", "split")))
    if not names:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows), layout="constrained")
    figure.subplots(rows, columns, squeeze=False)
    colours = _colours(lines)
    for number, panel in enumerate(figure.axes):
        if number >= len(names):
            panel.set_visible(False)
            continue
        _draw_score(panel, names[number], lines, colours)
        if number < columns and panel.lines:
            panel.legend(fontsize=8)
        if number + columns >= len(names):
            panel.set_xlabel("step", fontsize=9)
    return figure


def _colours(lines: Sequence[dict]) -> dict[str, str]:
    """Gives each split a colour."""
    splits = dict.fromkeys(line["split"] for line in lines)
    others = [split for split in splits if split not in COLOURS]
    chosen = {split: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, split in enumerate(others)}
    return COLOURS | chosen


def _draw_score(panel: Any, name: str, lines: Sequence[dict], colours: dict[str, str]) -> None:
    """Draws the curves of one score into a panel of matplotlib."""
    for split, colour in colours.items():
        points = [
            (line["step"], line[name])
            for line in lines
            if line["split"] == split and line.get(name) is not None
        ]
        if points:
            marker = "o" if len(points) < 30 and split != "train" else None
            panel.plot(*zip(*points), color=colour, marker=marker, markersize=3, label=split)
    values = [line[name] for line in lines if line.get(name) is not None]
    if values and min(values) > 0 and max(values) > 50 * min(values):
        # A linear axis would show only the beginning of a loss that falls by orders of magnitude.
        panel.set_yscale("log")
    elif values and max(values) - min(values) < 0.02 * max(map(abs, values)):
        # Otherwise a difference in the fourth digit would fill the panel.
        middle, half = (max(values) + min(values)) / 2, 0.01 * max(map(abs, values))
        panel.set_ylim(middle - 2 * half, middle + 2 * half)
    panel.set_xlim(0, 1.03 * lines[-1]["step"])
    panel.set_title(name, fontsize=10)
    panel.grid(alpha=0.3)
