"""Curves of a run, drawn from its metrics.jsonl."""

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
    path.parent.mkdir(parents=True, exist_ok=True)
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
        elif values and max(values) - min(values) < 0.02 * max(map(abs, values)):
            # Else a difference in the fourth digit would fill the panel.
            middle, half = (max(values) + min(values)) / 2, 0.01 * max(map(abs, values))
            panel.set_ylim(middle - 2 * half, middle + 2 * half)
        panel.set_xlim(0, 1.03 * lines[-1]["step"])
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.3)
    for number, panel in enumerate(figure.axes):
        panel.set_visible(number < len(names))
        if number < columns and panel.lines:
            panel.legend(fontsize=8)
        if number + columns >= len(names):
            panel.set_xlabel("step", fontsize=9)
    figure.savefig(path, dpi=110)
