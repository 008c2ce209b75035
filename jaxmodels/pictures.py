"""Pictures that experiments draw into a run folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Num

_DPI = 110


def draw_image_grid(
    images: Num[np.ndarray, "count height width channels"],
    path: Path,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> None:
    """A grid of grey or RGB images, left to right, with a title above each and above all if given.
    Without titles of their own they lie side by side, a pixel apart.

    limits: the values that are black and white; None: the extremes of all the images.
    """
    from matplotlib.figure import Figure

    low, high = limits or (images.min(), images.max())
    pictures = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    if titles is None:
        _draw_mosaic(pictures, path, rows, columns, title)
        return
    if pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    size = (max(1.1 * columns, 6.0 if title else 0), 1.375 * rows + (0.3 if title else 0))
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=9)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel in panels:
        panel.axis("off")
    for index, picture in enumerate(pictures):
        panel = figure.axes[index]
        panel.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_title(titles[index], fontsize=8, pad=2)
    _save(figure, path)


def in_pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> np.ndarray:
    """Images for a grid of so many columns with each of `above` over its counterpart."""
    starts = range(0, len(above), columns)
    rows = [row[start : start + columns] for start in starts for row in (above, below)]
    return np.concatenate(rows)


def _draw_mosaic(pictures: np.ndarray, path: Path, rows: int, columns: int, title: str) -> None:
    """All pictures in one: a panel for each would take seconds."""
    from matplotlib.figure import Figure

    count, height, width, channels = pictures.shape
    cells = np.ones((rows * columns, height + 1, width + 1, channels))
    cells[:count, 1:, 1:] = pictures
    mosaic = cells.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    mosaic = mosaic.reshape(rows * (height + 1), columns * (width + 1), channels)
    zoom = max(1, 64 // height)
    size = np.array([mosaic.shape[1], mosaic.shape[0]]) * zoom / _DPI
    figure = Figure(figsize=(max(size[0], 4.0), size[1] + (0.3 if title else 0)))
    panel = figure.add_axes((0, 0, 1, size[1] / figure.get_figheight()))
    panel.axis("off")
    panel.imshow(
        mosaic.squeeze(-1) if channels == 1 else mosaic,
        "gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    if title:
        figure.suptitle(title, fontsize=9, y=0.995, va="top")
    _save(figure, path)


def draw_confusion(
    confusion: Int[np.ndarray, "label prediction"],
    class_names: Sequence[str],
    path: Path,
    title: str = "",
) -> None:
    """The confusion matrix, coloured by the share of the true class, with counts where legible."""
    from matplotlib.figure import Figure

    classes = len(class_names)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = min(max(4.0, 0.5 * classes + 1.5), 16.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    panel = figure.subplots()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= 30:
        ticks = range(classes)
        panel.set_xticks(ticks, class_names, rotation=45, ha="right", fontsize=8)
        panel.set_yticks(ticks, class_names, fontsize=8)
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = confusion[row, column]
            panel.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title(title, fontsize=9)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def draw_scatter(
    points: Num[np.ndarray, "count 2"],
    path: Path,
    labels: Int[np.ndarray, " count"] | None = None,
    class_names: Sequence[str] = (),
    title: str = "",
) -> None:
    """Points in the plane (one coordinate: along a line), coloured by label if there are any."""
    from matplotlib.figure import Figure

    x, y = points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    panel = figure.subplots()
    named = labels is not None and 0 < len(class_names) <= 20
    options = {}
    if named:
        # Scaled by the classes there are, not by those that have points.
        options = {"c": labels, "cmap": "tab10" if len(class_names) <= 10 else "tab20"}
        options |= {"vmin": 0, "vmax": max(len(class_names) - 1, 1)}
    marks = panel.scatter(x, y, s=5, linewidths=0, alpha=0.7, **options)
    if named:
        colours = [marks.cmap(marks.norm(label)) for label in range(len(class_names))]
        handles = [panel.scatter([], [], color=[colour], s=20) for colour in colours]
        figure.legend(handles, class_names, loc="outside right upper", fontsize=8, frameon=False)
    panel.set_aspect("equal", "datalim")
    panel.set_title(title, fontsize=9)
    _save(figure, path)
