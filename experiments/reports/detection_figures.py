"""Figures of detections: pictures with true and predicted boxes, and curves of precision."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxmodels.metrics.average_precision import RECALLS, AveragePrecision
from jaxmodels.metrics.detection_errors import (
    BACKGROUND,
    BOTH,
    CLASS,
    DUPLICATE,
    HIT,
    IGNORED,
    LOCALISATION,
)
from jaxmodels.pictures import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 3.2  # inches of a picture's longer side
_MISSED, _TRUE = "true, missed", "true, hit or a crowd"
# Told apart without red and green, too (Okabe and Ito 2008).
COLOURS = {
    "hit": "#009e73",
    "class": "#cc79a7",
    "place": "#e69f00",
    "duplicate": "#56b4e9",
    "background": "#d55e00",
    _MISSED: "#f0e442",
    _TRUE: "#0072b2",
}
_STYLES = {_MISSED: ("--", 1.5), _TRUE: (":", 1.0)}  # line and width; of detections _FOUND
_FOUND = ("-", 1.5)
_BRIGHT = ("place", "duplicate", _MISSED)  # colours that dark letters are read on
_NAMES = {
    HIT: "hit",
    IGNORED: "hit",
    CLASS: "class",
    LOCALISATION: "place",
    BOTH: "class",
    DUPLICATE: "duplicate",
    BACKGROUND: "background",
}
_MOST_CURVES = 12


class Shown(NamedTuple):
    """A picture with boxes in its pixels. kinds: of `detection_errors`, of each box. missed: boxes
    of objects that nothing hits, with their classes. true: those of all other objects."""

    pixels: UInt8[np.ndarray, "height width 3"]
    boxes: Float[np.ndarray, "box 4"]
    texts: list[str]
    kinds: Int[np.ndarray, " box"]
    missed: Float[np.ndarray, "object 4"]
    missed_texts: list[str]
    true: Float[np.ndarray, "other 4"]
    title: str


def boxes_figure(pictures: Sequence[Shown], title: str, columns: int = 4) -> "Figure":
    """Draws pictures with their boxes, each in the colour of what it is."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = np.max([picture.pixels.shape[:2] for picture in pictures], axis=0).tolist()
    scale = _CELL / max(height, width)
    wide, high = scale * width, scale * height + 0.25
    figure = Figure(figsize=(max(wide * columns, 6.0), high * rows + 0.6))
    panels = np.atleast_2d(figure.subplots(rows, columns, squeeze=False))
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.6 / (high * rows + 0.6), 0.02, 0.08)
    for panel in panels.flat:
        panel.axis("off")
    for panel, picture in zip(panels.flat, pictures):
        _draw(panel, picture)
    lines = []
    for name, colour in COLOURS.items():
        style, thickness = _STYLES.get(name, _FOUND)
        options = {"linestyle": style, "linewidth": thickness}
        lines.append(Line2D([], [], color=colour, label=name, **options))
    options = {"fontsize": 7, "frameon": False, "columnspacing": 1.0, "handlelength": 1.6}
    figure.legend(handles=lines, loc="upper center", ncols=len(lines), **options)
    panels[0, 0].figure.text(0.5, 1 - 0.4 / (high * rows + 0.6), title, fontsize=9, ha="center")
    return figure


def _draw(panel, picture: Shown) -> None:
    from matplotlib.patches import Rectangle

    panel.imshow(picture.pixels, interpolation="nearest")
    panel.set_title(shortened(picture.title, 44), fontsize=8, pad=2)

    def draw(box, text, name):
        colour, letters = COLOURS[name], "#101010" if name in _BRIGHT else "#ffffff"
        style, thickness = _STYLES.get(name, _FOUND)
        x0, y0, x1, y1 = (float(edge) - 0.5 for edge in box)  # imshow centres pixels
        line = {"color": colour, "linestyle": style, "linewidth": thickness}
        panel.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **line))
        if not text:
            return
        behind = {"facecolor": colour, "edgecolor": "none", "pad": 0.4, "alpha": 0.75}
        options = {"fontsize": 6, "va": "bottom", "bbox": behind, "clip_on": True}
        panel.text(x0, y0, text, color=letters, **options)

    for box, text in zip(picture.missed, picture.missed_texts):
        draw(box, text, _MISSED)
    for box, text, kind in zip(picture.boxes, picture.texts, picture.kinds.tolist()):
        draw(box, text, _NAMES[kind])
    for box in picture.true:  # thin, above the box that hits it
        draw(box, "", _TRUE)
    height, width = picture.pixels.shape[:2]
    panel.set_xlim(-0.5, width - 0.5)
    panel.set_ylim(height - 0.5, -0.5)


def curves_figure(precision: AveragePrecision, names: Sequence[str], title: str) -> "Figure":
    """Draws precision by recall at an IoU of 0.5, of each class that has objects; of many classes
    those with the lowest average."""
    from matplotlib.figure import Figure

    averages = np.array(precision.per_class(0.5))
    known = np.flatnonzero(~np.isnan(averages))
    order = known[np.argsort(averages[known], kind="stable")][:_MOST_CURVES]
    figure = Figure(figsize=(6.5, 4.8), layout="constrained")
    panel = figure.subplots()
    for label in order[::-1].tolist():
        text = f"{shortened(str(names[label]), 24)} {averages[label]:.3f}"
        panel.plot(RECALLS, precision.curve(label), linewidth=1.4, label=text)
    panel.set_xlim(0, 1.01)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("recall")
    panel.set_ylabel("precision")
    more = len(known) - len(order)
    panel.set_title(title + (f"; {more} better classes are left out" if more else ""), fontsize=9)
    if len(order):
        figure.legend(loc="outside right upper", fontsize=8, frameon=False, title="AP50")
    return figure
