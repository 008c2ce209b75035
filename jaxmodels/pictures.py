"""Figures of matplotlib that experiments draw of their evaluations."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Num

from jaxmodels.files import write_atomically

if TYPE_CHECKING:
    import matplotlib.figure  # slow, so only the functions that draw import it at run time

DPI = 110
_INK = "#7b818b"  # text that is read on white and on black
_GROUND = 0.7  # of white, behind what is transparent


def save_figure(figure: "matplotlib.figure.Figure", path: Path) -> None:
    """Writes a figure as a PNG file, whole or not at all. It is transparent around its pictures, so
    that it suits a page of any colour."""
    _make_transparent(figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def _make_transparent(figure: "matplotlib.figure.Figure") -> None:
    """Makes the ground of a figure transparent, and gives black text and frames a colour that can
    be read on white and on black."""
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    figure.patch.set_alpha(0)
    for panel in figure.axes:
        panel.patch.set_alpha(0)
        panel.tick_params(colors=_INK)
        for side in panel.spines.values():
            side.set_edgecolor(_INK)
    for text in figure.findobj(Text):
        if isinstance(text, Text) and to_hex(text.get_color()) == "#000000":
            text.set_color(_INK)


def image_grid(
    images: Num[np.ndarray, "count height width channels"],
    titles: Sequence[str] | None = None,
    columns: int = 8,
    limits: tuple[int | float, int | float] | None = None,
    title: str = "",
    names: Sequence[str] = (),
    rows: Sequence[str] = (),
) -> "matplotlib.figure.Figure":
    """Draws a grid of grey, RGB or RGBA images, left to right.

    titles: one above each image; None: the images lie side by side, a pixel apart.
    names, rows: of the columns, and of the rows, of a grid without titles.
    limits: the values that are black and white; None: the extremes of all the images.
    title: stands above the grid.
    """
    low, high = limits or (images.min(), images.max())
    pictures = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    if pictures.shape[-1] == 4:
        pictures = _on_ground(pictures)
    columns = min(columns, len(pictures))
    if titles is None:
        return _mosaic(pictures, columns, title, names, rows)
    return _titled_grid(pictures, titles, columns, title)


def _on_ground(
    pictures: Float[np.ndarray, "count height width 4"],
) -> Float[np.ndarray, "count height width 3"]:
    """Puts pictures with transparency on grey, on which both black and white ones are seen."""
    opacity = pictures[..., 3:]
    return pictures[..., :3] * opacity + _GROUND * (1 - opacity)


def in_pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> np.ndarray:
    """Orders images for a grid of so many columns, each of `above` over its counterpart."""
    starts = range(0, len(above), columns)
    rows = [row[start : start + columns] for start in starts for row in (above, below)]
    return np.concatenate(rows)


def _titled_grid(
    pictures: Float[np.ndarray, "count height width channels"],
    titles: Sequence[str],
    columns: int,
    title: str,
) -> "matplotlib.figure.Figure":
    """Draws each picture under its title, all in one panel, whose units are inches."""
    from matplotlib.figure import Figure

    count, pixels_high, pixels_wide, channels = pictures.shape
    rows = -(-count // columns)
    if channels == 1:
        pictures = pictures[..., 0]
    titles = [_broken(name) for name in titles]
    lines = max(1 + name.count("\n") for name in titles)
    scale = 1 / max(pixels_high, pixels_wide)
    half, size = scale * pixels_wide / 2, scale * pixels_high
    cell = 1.1, size + 0.1 + 0.14 * lines
    wide = max(cell[0] * columns, 6.0 if title else 0)
    high = cell[1] * rows + (0.3 if title else 0)
    figure = Figure(figsize=(wide, high))
    panel = figure.add_axes((0, 0, 1, 1))
    panel.axis("off")
    left = (wide - cell[0] * columns) / 2
    for at, (picture, name) in enumerate(zip(pictures, titles)):
        middle = left + cell[0] * (at % columns + 0.5)
        bottom = cell[1] * (rows - 1 - at // columns) + 0.05
        extent = (middle - half, middle + half, bottom, bottom + size)
        shown = {"vmin": 0, "vmax": 1, "cmap": "gray", "interpolation": "nearest"}
        panel.imshow(picture, extent=extent, aspect="auto", **shown)
        panel.text(middle, bottom + size + 0.03, name, fontsize=8, ha="center", va="bottom")
    panel.set_xlim(0, wide)
    panel.set_ylim(0, high)
    if title:
        panel.text(wide / 2, high - 0.08, title, fontsize=9, ha="center", va="top")
    return figure


def _broken(title: str, width: int = 15) -> str:
    """Breaks each line of a title to the width of its picture, so that neighbours do not overlap;
    a word that is longer than that is cut short."""
    lines = []
    for line in title.splitlines():
        words = [shortened(word, width) for word in line.split(" ")]
        lines += textwrap.wrap(" ".join(words), width) or [""]
    return "\n".join(lines)


def shortened(name: str, width: int) -> str:
    """Shortens a name to so many letters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def _mosaic(
    pictures: Float[np.ndarray, "count height width channels"],
    columns: int,
    title: str,
    names: Sequence[str],
    row_names: Sequence[str],
) -> "matplotlib.figure.Figure":
    """Draws all pictures in one panel, since a panel for each would take seconds."""
    from matplotlib.figure import Figure

    count, height, width, channels = pictures.shape
    rows = -(-count // columns)
    # What lies between the pictures has no colour.
    cells = np.zeros((rows * columns, height + 1, width + 1, 4))
    cells[:count, 1:, 1:, :3] = pictures if channels == 3 else pictures[..., :1]
    cells[:count, 1:, 1:, 3] = 1
    mosaic = cells.reshape(rows, columns, height + 1, width + 1, 4).swapaxes(1, 2)
    mosaic = mosaic.reshape(rows * (height + 1), columns * (width + 1), 4)
    zoom = max(1, 64 // height)
    size = np.array([mosaic.shape[1], mosaic.shape[0]]) * zoom / DPI
    heading = (0.3 if title else 0) + (0.25 if names else 0)
    row_names = [shortened(name, 16) for name in row_names]
    margin = 0.1 + 0.07 * max(map(len, row_names)) if row_names else 0
    figure = Figure(figsize=(max(size[0] + margin, 4.0), size[1] + heading))
    share = margin / figure.get_figwidth()
    panel = figure.add_axes((share, 0, 1 - share, size[1] / figure.get_figheight()))
    panel.axis("off")
    panel.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    room = max(2, int((width + 1) * zoom / DPI * 72 / 4.5))  # letters above a column
    for column, name in enumerate(names[:columns]):
        place = (column + 0.5) * (width + 1) - 0.5, -1.5
        panel.text(*place, shortened(name, room), fontsize=7, ha="center", va="bottom")
    for row, name in enumerate(row_names[:rows]):
        panel.text(-1.5, (row + 0.5) * (height + 1), name, fontsize=7, ha="right", va="center")
    if title:
        figure.suptitle(title, fontsize=9, y=0.995, va="top")
    return figure


def confusion_figure(
    confusion: Int[np.ndarray, "label prediction"],
    class_names: Sequence[str],
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Draws a confusion matrix, coloured by the share of the true class.

    Up to thirty classes have their names and counts, which would be too small to read for more.
    """
    from matplotlib.figure import Figure

    classes = len(class_names)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = min(max(4.0, 0.5 * classes + 1.5), 16.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    panel = figure.subplots()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= 30:
        ticks = range(classes)
        shown = [shortened(name, 24) for name in class_names]
        panel.set_xticks(ticks, shown, rotation=45, ha="right", fontsize=8)
        panel.set_yticks(ticks, shown, fontsize=8)
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.5 else "#101010"
            count = str(confusion[row, column])
            panel.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title(title, fontsize=9)
    return figure


def scatter_figure(
    points: Num[np.ndarray, "count dimensions"],
    labels: Int[np.ndarray, " count"] | None = None,
    class_names: Sequence[str] = (),
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Draws points by their first two coordinates, or along a line if they have one.

    labels: colour the points where there are at most twenty class names.
    """
    from matplotlib.figure import Figure

    x, y = points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    panel = figure.subplots()
    is_coloured = labels is not None and 0 < len(class_names) <= 20
    options = {}
    if is_coloured:
        # The scale spans all classes, so that a class keeps its colour where others are missing.
        options = {"c": labels, "cmap": "tab10" if len(class_names) <= 10 else "tab20"}
        options |= {"vmin": 0, "vmax": max(len(class_names) - 1, 1)}
    marks = panel.scatter(x, y, s=5, linewidths=0, alpha=0.7, **options)
    if is_coloured:
        colours = [marks.cmap(marks.norm(label)) for label in range(len(class_names))]
        handles = [panel.scatter([], [], color=[colour], s=20) for colour in colours]
        figure.legend(handles, class_names, loc="outside right upper", fontsize=8, frameon=False)
    panel.set_aspect("equal", "datalim")
    panel.set_title(title, fontsize=9)
    return figure


def prediction_figure(
    true: Float[np.ndarray, " count"],
    predicted: Float[np.ndarray, " count"],
    name: str = "",
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Draws predicted against true numbers, with the line on which they are equal.

    name: that of the numbers.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    panel = figure.subplots()
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    panel.plot(ends, ends, color=_INK, linewidth=1)
    size = 16 if len(true) < 1000 else 5
    panel.scatter(true, predicted, s=size, color="#3b8fd0", linewidths=0, alpha=0.75)
    panel.set_aspect("equal", "datalim")
    panel.set_xlabel(f"true {shortened(name, 40)}")
    panel.set_ylabel(f"predicted {shortened(name, 40)}")
    panel.set_title(title, fontsize=9)
    return figure
