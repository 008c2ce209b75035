"""Charts as data that the page's script draws, and the boxes it draws them into."""

from collections.abc import Sequence

from jaxmodels.report.groups import Group
from jaxmodels.report.html import Html, element, number
from jaxmodels.report.run import SPLITS, Run, declared_by
from jaxmodels.report.scores import UNDECLARED, Score

Points = Sequence[tuple[int, float | None]]  # (step, value), None where it is not finite
MOST_POINTS = 3000
COLOURS = 7  # colour-blind people can tell them apart; further lines repeat them, dashed


def colour_of_split(split: str, index: int) -> str:
    """Names the style class of a split's line."""
    return split if split in SPLITS else colour_of_run(index)


def colour_of_run(index: int) -> str:
    """Names the style class of one run of several."""
    return f"c{index % COLOURS}" + (f" dash{min(index // COLOURS, 3)}" if index >= COLOURS else "")


def series(name: str, colour: str, points: Points) -> dict:
    """Makes one line of a chart; of very many points it has those that show its course."""
    kept = thin(points)
    return {
        "name": name,
        "colour": colour,
        "x": [step for step, _ in kept],
        "y": [_six_digits(value) for _, value in kept],
    }


def _six_digits(value: float | None) -> float | None:
    """Rounds to six digits, more than a screen or a reader tells apart."""
    return None if value is None else float(f"{value:.6g}")


def chart(title: str, lines: list[dict], declared: Score = UNDECLARED) -> dict:
    """Makes one panel, with a logarithmic axis where a linear one would show only the beginning."""
    values = [value for line in lines for value in line["y"] if value is not None]
    logarithmic = bool(values) and min(values) > 0 and max(values) > 50 * min(values)
    texts = {"title": title, "unit": declared.unit, "meaning": declared.meaning}
    return texts | {"log": logarithmic, "series": lines}


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """Keeps about `most` points, so that no peak is lost: the lowest, the highest and the first
    that is not finite of each stretch."""
    points = sorted(points, key=lambda point: point[0])
    if len(points) <= most:
        return points
    stretch = -(-2 * len(points) // most)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), stretch):
        values = [
            (value, start + row) for row, (_, value) in enumerate(points[start : start + stretch])
        ]
        finite = [(value, row) for value, row in values if value is not None]
        if finite:
            kept |= {min(finite)[1], max(finite)[1]}
        kept.update([row for value, row in values if value is None][:1])
    return [points[row] for row in sorted(kept)]


def curves_of(run: Run) -> list[dict]:
    """Makes a chart for each score with a line for each split, the monitored score first.

    A score with a single value has no curve; the summary shows it.
    """
    names = list(dict.fromkeys(name for split in run.splits for name in run.scores(split)))
    if run.monitor:
        names.sort(key=lambda name: name != run.monitor)
    charts = []
    for name in names:
        lines = [
            series(split, colour_of_split(split, index), run.points(split, name))
            for index, split in enumerate(run.splits)
            if name in run.scores(split)
        ]
        if any(len(line["x"]) > 1 for line in lines):
            charts.append(chart(name, lines, run.declared(name)))
    return charts


def banded(name: str, colour: str, group: Group, split: str, score: str) -> dict | None:
    """Makes the line of a group: of several seeds their mean, in a band of ± the deviation; None
    where the group has no such score."""
    spreads = dict(group.points(split, score))
    if not spreads:
        return None
    line = series(name, colour, [(step, spread.mean) for step, spread in spreads.items()])
    if len(group.runs) > 1:
        line["spread"] = [_six_digits(spreads[step].deviation) for step in line["x"]]
    return line


def compared_curves(groups: list[Group], first: str) -> list[dict]:
    """Makes a chart for each score of a split with a line for each group.

    `first` stands before the others. A score of which no group has two points has no chart.
    """
    keys = {}
    for run in (run for group in groups for run in group.runs):
        keys |= {f"{s}/{n}": (s, n) for s in run.splits for n in run.scores(s)}
    score = first.split("/", 1)[1]
    order = sorted(
        keys, key=lambda key: (key != first, keys[key][0] == "train", keys[key][1] != score)
    )
    charts = []
    for key in order:
        split, score = keys[key]
        lines = [
            banded(group.name, colour_of_run(index), group, split, score)
            for index, group in enumerate(groups)
        ]
        lines = [line for line in lines if line]
        if any(len(line["x"]) > 1 for line in lines):
            runs = [run for group in groups for run in group.runs]
            charts.append(chart(key, lines, declared_by(runs, score)))
    return charts


def panels(
    name: str, charts: list[dict], legend: Sequence[tuple[str, str]], hint: bool = True
) -> Html:
    """Makes the boxes of a group of charts, which share their steps, zoom and legend.

    legend: name and style class of each line.
    hint: whether to say how to use the charts.
    """
    boxes = [_box(index, one) for index, one in enumerate(charts)]
    varying = [box for box, one in zip(boxes, charts) if not _is_constant(one)]
    constant = [box for box, one in zip(boxes, charts) if _is_constant(one)]
    how = element(
        "p",
        "Point at a chart for values, drag to zoom, double-click for all steps. With the keyboard:"
        " arrows, + and −, Escape.",
        class_="note hint",
    )
    without = element(
        "noscript", element("p", "The curves are drawn by the script of this page.", class_="note")
    )
    return element(
        "div",
        _bar(legend),
        element("div", varying, class_="charts") if varying else None,
        _folded(constant) if constant else None,
        how if hint else None,
        without,
        class_="group",
        data_group=name,
    )


def _bar(legend: Sequence[tuple[str, str]]) -> Html:
    """Makes the legend, which hides and shows lines, and the buttons that zoom."""
    entries = [
        element(
            "button",
            element("span", class_=f"swatch {colour}"),
            label,
            type="button",
            class_="legend",
            data_series=label,
            aria_pressed="true",
        )
        for label, colour in legend
    ]
    buttons = [
        element("button", text, type="button", class_="tool", data_zoom=zoom, aria_label=label)
        for text, zoom, label in (
            ("+", "in", "zoom in"),
            ("−", "out", "zoom out"),
            ("Reset", "reset", "show all steps"),
        )
    ]
    return element(
        "div",
        element("div", entries, class_="entries"),
        element("div", buttons, class_="tools", role="group", aria_label="zoom"),
        class_="bar",
    )


def _box(index: int, one: dict) -> Html:
    """Makes the box that the script draws a chart into."""
    unit = element("small", f" {one['unit']}") if one["unit"] else None
    caption = element("span", one["title"], unit, title=one["meaning"] or None)
    return element(
        "figure",
        element("figcaption", caption),
        element("p", _in_words(one), class_="hidden"),
        element("div", class_="plot"),
        class_="chart",
        data_chart=index,
    )


def _is_constant(one: dict) -> bool:
    """Tells whether a chart has one value only, over all steps and lines."""
    values = {value for line in one["series"] for value in line["y"]}
    return len(values) == 1 and None not in values


def _folded(boxes: list[Html]) -> Html:
    """Folds away the charts that have one value only."""
    count = "1 chart that does" if len(boxes) == 1 else f"{len(boxes)} charts that do"
    title = element("summary", f"{count} not change")
    return element("details", title, element("div", boxes, class_="charts"))


def _in_words(one: dict) -> list:
    """Says the last value of each line, for those who do not see the chart."""
    words: list = [f"{one['title']}, last values: "]
    for line in one["series"]:
        words += [f"{line['name']} ", number(line["y"][-1] if line["y"] else None), "; "]
    return words
