"""Curves of a run, drawn from its metrics.jsonl."""

import math
from collections.abc import Sequence
from pathlib import Path

# Colour-blind safe (Okabe & Ito).
COLOURS = {"train": "#999999", "validation": "#0072b2", "test": "#d55e00"}


def draw_curves(lines: Sequence[dict], path: Path) -> None:
    """One panel per score, one line per split; a split scored once is a dot."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for line in lines for n in line if n not in ("step", "split")))
    if not names:
        return
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for name, panel in zip(names, panels):
        for split, colour in COLOURS.items():
            points = [
                (line["step"], line[name])
                for line in lines
                if line["split"] == split and line.get(name) is not None
            ]
            if points:
                marker = "o" if len(points) < 30 and split != "train" else None
                panel.plot(*zip(*points), color=colour, marker=marker, markersize=3, label=split)
        values = [line[name] for line in lines if line.get(name)]
        # Losses fall by orders of magnitude; a linear axis would show only their beginning.
        if values and min(values) > 0 and max(values) > 50 * min(values):
            panel.set_yscale("log")
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.3)
        if math.isclose(*panel.get_xlim()):
            panel.margins(x=0.1)
    for panel in panels:
        panel.set_visible(False)
    for panel in list(figure.axes)[:columns]:
        panel.legend(fontsize=8)
    for panel in list(figure.axes)[-columns:]:
        panel.set_xlabel("step", fontsize=9)
    figure.savefig(path, dpi=110)
