"""The page of several runs beside one another; runs of several seeds are one result."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmodels.errors import InputError, require_known
from jaxmodels.report.charts import colour_of_run, compared_curves, panels
from jaxmodels.report.groups import (
    NAMES_ONLY,
    STATED,
    Group,
    Spread,
    differing,
    grouped,
    in_words,
    rounded,
    spread_of,
)
from jaxmodels.report.html import (
    Html,
    document,
    element,
    field,
    flatten,
    number,
    plain_number,
    setting,
    table,
)
from jaxmodels.report.layout import Section, footer, heading, navigated
from jaxmodels.report.run import Run, declared_by
from jaxmodels.report.scores import Better, Score, direction
from jaxmodels.report.summary import device_of, duration

_MOST_SCORES = 5  # columns of other scores in the table


_AT_BEST = "the metric at the checkpoint that validation chose"


class Comparison(NamedTuple):
    """Groups of runs that are compared by a metric, the best first.

    metric: SPLIT/SCORE. better: None where neither direction is known to be better; the groups are
    then in the order in which they were given.
    """

    groups: list[Group]
    metric: str
    better: Better | None

    @property
    def runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def has_seeds(self) -> bool:
        """Whether a result is of several seeds."""
        return any(len(group.runs) > 1 for group in self.groups)

    def lines(self) -> list[str]:
        """Writes a line for each group, for a terminal."""
        return [_line(group, self.metric) for group in self.groups]


def compare(runs: list[Run], metric: str | None = None, better: Better | None = None) -> Comparison:
    """Groups runs and sorts the groups by the mean of the metric.

    metric, better: None: see `choose_metric`, `choose_direction`.

    Raises:
      InputError: the same folder twice, or no run has the metric.
    """
    folders: set[Path] = set()
    for run in runs:
        if run.path.resolve() in folders:
            raise InputError(f"run {run.path} is given twice; expected different folders")
        folders.add(run.path.resolve())
    metric = choose_metric(runs, metric)
    better = better or choose_direction(runs, metric)
    groups = grouped(runs)
    return Comparison(_sorted(groups, metric, better) if better else groups, metric, better)


def _line(group: Group, metric: str) -> str:
    """Writes the result of a group: its name, mean ± standard deviation, interval and seeds."""
    spread = group.last(metric)
    line = f"{group.name}: {metric} {in_words(spread)}"
    if len(group.runs) == 1:
        return f"{line}, seed {group.seeds}"
    if spread.interval:
        line += f", 95% interval {_interval(spread)}"
    left_out = len(group.runs) - spread.count
    without = f", {left_out} left out: not finished" if left_out else ""
    return f"{line}, {len(group.runs)} seeds ({group.seeds}){without}"


def comparison_page(comparison: Comparison) -> str:
    """Writes the whole page."""
    groups, metric, runs = comparison.groups, comparison.metric, comparison.runs
    names = [group.name for group in groups]
    charts = compared_curves(groups, metric)
    legend = [(name, colour_of_run(index)) for index, name in enumerate(names)]
    results = [_table(groups, metric)]
    if comparison.has_seeds:
        each = element("summary", f"Each of the {len(runs)} runs")
        results.append(element("details", each, _table_of_runs(groups, metric)))
    bands = "Lines are means over seeds, bands mean ± standard deviation."
    curves = Section(
        "curves",
        "Curves",
        [panels("curves", charts, legend)],
        bands if comparison.has_seeds else None,
    )
    sections = [
        Section("runs", "Results" if comparison.has_seeds else "Runs", results, _note(comparison)),
        curves if charts else None,
        Section("differences", "Differences", _differences(groups)),
    ]
    experiments = " and ".join(dict.fromkeys(str(run.record["experiment"]) for run in runs))
    data = ", ".join(dict.fromkeys(str(run.config.get("data", "unknown")) for run in runs))
    title = f"{len(runs)} runs · {data}"
    head = heading(f"{experiments} comparison", title, f"by {metric}")
    body = [head, *navigated([part for part in sections if part]), footer()]
    return document(title, body, {"curves": charts})


def choose_metric(runs: list[Run], metric: str | None) -> str:
    """Chooses the metric, as SPLIT/SCORE.

    metric: None: the score that the runs monitor or, if they recorded none, the first of their
    evaluations; of test if most runs have it there, else of validation.

    Raises:
      InputError: no run has it.
    """
    known = list(
        dict.fromkeys(f"{s}/{n}" for run in runs for s in run.splits for n in run.scores(s))
    )
    if not known:
        raise InputError("the runs have no scores yet; expected lines in a metrics.jsonl")
    if metric is None:
        monitored = [run.monitor for run in runs if run.monitor]
        score = monitored[0] if monitored else known[0].split("/", 1)[1]
        wanted = {f"{split}/{score}" for split in ("test", "validation")} & set(known)
        candidates = sorted(wanted) or known  # test comes before validation

        def has_it(key: str) -> int:
            return sum(_value(run, key) is not None for run in runs)

        metric = max(candidates, key=has_it)  # the first of equal ones
    require_known("metric", metric, known)
    return metric


def choose_direction(runs: list[Run], metric: str) -> Better | None:
    """Looks up which values of a metric are better; None unless the runs record one direction."""
    score = metric.split("/", 1)[1]
    directions = {run.declared(score).better for run in runs} - {None}
    return directions.pop() if len(directions) == 1 else None


def _sorted(groups: list[Group], metric: str, better: Better) -> list[Group]:
    """Sorts groups by their means, the best first and those without the metric last."""
    sign = {"lower": 1, "higher": -1}[better]

    def rank(group: Group) -> tuple:
        mean = group.last(metric).mean
        return (mean is None, 0 if mean is None else sign * mean, str(group.runs[0].path))

    return sorted(groups, key=rank)


def _note(comparison: Comparison) -> str:
    """Says how the results are sorted, what they are and what the metric means."""
    metric, better = comparison.metric, comparison.better
    if better:
        note = f"Sorted by the last {metric}; {direction(better)}."
    else:
        note = (
            f"In the order given, as no direction of {metric} is recorded as the better one;"
            " --better lower or --better higher sorts the runs by it."
        )
    if comparison.has_seeds:
        note += f" Results are {STATED}."
    meaning = declared_by(comparison.runs, metric.split("/", 1)[1]).meaning
    return f"{note} {metric}: {meaning}" if meaning else note


def _value(run: Run, metric: str) -> float | None:
    """Finds the last value of SPLIT/SCORE."""
    split, score = metric.split("/", 1)
    return (run.last(split) or {}).get(score)


def _titled(index: int, group: Group, note: str = "", path: Path | None = None) -> list:
    """Makes the heading of a group, with the colour of its lines."""
    swatch = element("span", class_=f"swatch {colour_of_run(index)}")
    name = element("span", group.name, title=str(path) if path else None)
    return [swatch, name, element("small", note) if note else None]


def _row_of_group(index: int, group: Group) -> Html:
    """Makes the first cell of a group's row."""
    first, finished = group.runs[0], sum(run.status[1] == "good" for run in group.runs)
    count = len(group.runs)
    if count == 1:
        folder = first.path.resolve().name
        known = [] if folder in group.name else [folder]
        note = " · ".join([*known, str(first.config.get("model")), first.status[0]])
        path = first.path
    else:
        done = "finished" if finished == count else f"{finished} of {count} finished"
        note, path = f"{count} seeds ({group.seeds}) · {done}", first.path.parent
    title = _titled(index, group, note, path)
    return element("th", title, scope="row", class_="run")


def _table(groups: list[Group], metric: str) -> Html:
    """Makes the table of the results, with the last scores of the metric's split."""
    split, score = metric.split("/", 1)
    runs = [run for group in groups for run in group.runs]
    others = dict.fromkeys(name for run in runs for name in run.scores(split) if name != score)
    others = list(others)[:_MOST_SCORES]
    validated = split != "validation" and any(run.best_validation() for run in runs)
    tested = split == "test" and any(score in run.best_scores for run in runs)
    has_seeds = any(len(group.runs) > 1 for group in groups)
    headings = [
        (metric, declared_by(runs, score)),
        *([("95% interval", Score())] if has_seeds else []),
        *([("best validation", Score())] if validated else []),
        *([("test at best", Score(None, "", _AT_BEST))] if tested else []),
        *((other, declared_by(runs, other)) for other in others),
        ("training", Score()),
    ]
    rows = []
    for index, group in enumerate(groups):
        spread = group.last(metric)
        interval = [_interval(spread) or "–"] if has_seeds else []
        cells = [
            _mean(spread),
            *interval,
            *([_best_validation(group, score)] if validated else []),
            *([_mean(group.best(score))] if tested else []),
            *(_mean(group.last(f"{split}/{other}")) for other in others),
            _effort(group),
        ]
        labelled = [
            element(
                "td", cell, class_="number main" if not column else "number", data_label=label[0]
            )
            for column, (cell, label) in enumerate(zip(cells, headings))
        ]
        rows.append([_row_of_group(index, group), *labelled])
    header = ["result" if has_seeds else "run", *(_heading(*each) for each in headings)]
    return table(header, rows, "runs", class_="runs cards")


def _mean(spread: Spread) -> list | str:
    """Shows a mean, with the deviation below it."""
    if not spread.count:
        return "–"
    if spread.deviation is None:
        return [number(spread.mean)]
    if not spread.deviation or spread.mean is None:
        return [number(spread.mean), element("small", "± 0")]
    deviation = element("small", f"± {plain_number(spread.deviation, 2)}")
    return [rounded(spread.mean, spread.deviation), " ", deviation]


def _interval(spread: Spread) -> str:
    """Writes the 95% interval of a mean; empty where there is none."""
    if not spread.interval or not spread.deviation:
        return ""
    low, high = (rounded(end, spread.deviation) for end in spread.interval)
    return f"{low} to {high}"


def _best_validation(group: Group, score: str) -> list | str:
    """Shows the best monitored score of validation, named unless it is the score of the table; or
    that there is none."""
    lines = [(run.monitor, run.best_validation()) for run in group.counted]
    values = [(line[name], line["step"]) for name, line in lines if line and name]
    if not values:
        return "–"
    steps = sorted({step for _, step in values})
    at = f"step {steps[0]:,}" + (f" to {steps[-1]:,}" if len(steps) > 1 else "")
    shown = _mean(spread_of([value for value, _ in values]))
    monitor = group.runs[0].monitor
    return [shown, element("small", at if monitor == score else f"{monitor}, {at}")]


def _effort(group: Group) -> list:
    """Shows steps, and below them time and rate: of several seeds their means."""
    steps = spread_of([float(run.step) for run in group.runs]).mean or 0
    seconds = [run.seconds for run in group.runs if run.seconds is not None]
    rates = [run.steps_per_second for run in group.runs if run.steps_per_second]
    known = [duration(sum(seconds) / len(seconds))] if seconds else []
    known += [f"{plain_number(sum(rates) / len(rates), 3)} steps/s"] if rates else []
    return [f"{round(steps):,} steps", *(element("small", each) for each in known)]


def _table_of_runs(groups: list[Group], metric: str) -> Html:
    """Makes the table of single runs, for those who look into a mean."""
    split, score = metric.split("/", 1)
    rows = []
    for index, group in enumerate(groups):
        for run in group.runs:
            name = _titled(index, group, f"seed {run.config.get('seed')}", run.path)
            last = run.last(split) or {}
            cells = [
                (metric, number(last[score]) if score in last else "–"),
                ("steps", f"{run.step:,}"),
                ("status", run.status[0]),
                ("folder", "/".join(run.path.resolve().parts[-2:])),
            ]
            labelled = [
                element(
                    "td", cell, class_="number" if label != "folder" else None, data_label=label
                )
                for label, cell in cells
            ]
            rows.append([element("th", name, scope="row", class_="run"), *labelled])
    return table(
        ["run", metric, "steps", "status", "folder"], rows, "single runs", class_="runs cards"
    )


def _heading(name: str, declared: Score) -> Html:
    """Makes the heading of a column of scores: the name over the unit."""
    unit = element("small", declared.unit) if declared.unit else None
    return element("th", name, unit, scope="col", title=declared.meaning or None)


def _differences(groups: list[Group]) -> list[Html]:
    """Shows what is not the same in all groups: flags, then data, software and machine."""
    configs = [_shared([run.config for run in group.runs]) for group in groups]
    fields = differing(configs, NAMES_ONLY)
    surroundings = [
        _shared([flatten(run.facts | run.environment) for run in group.runs]) for group in groups
    ]
    runs = [run for group in groups for run in group.runs]
    return [
        element("h3", "Config"),
        _differences_table(groups, configs, fields, "config"),
        element("h3", "Data and environment"),
        _differences_table(groups, surroundings, differing(surroundings), "environment"),
        element("p", f"On {_devices(runs)}.", class_="note"),
    ]


def _shared(values: Sequence[dict]) -> dict:
    """Merges the fields of the runs of a group; several values of one are listed."""
    merged = dict(values[0])
    for name in differing(list(values)):
        seen = dict.fromkeys(str(setting(each[name])) for each in values if name in each)
        merged[name] = ", ".join(seen)
    return merged


def _devices(runs: list[Run]) -> str:
    """Names the devices of all runs."""
    return "; ".join(dict.fromkeys(", ".join(device_of(run)) for run in runs))


def _differences_table(
    groups: list[Group], values: list[dict], fields: list[str], label: str
) -> Html:
    """Makes a table with a row for each field and a column for each group."""
    if not fields:
        return element("p", "The same in all runs.", class_="note")
    columns = [element("th", _titled(i, group), scope="col") for i, group in enumerate(groups)]
    rows = [
        [
            field(name),
            *(
                element("td", setting(each[name]) if name in each else "–", data_label=group.name)
                for group, each in zip(groups, values)
            ),
        ]
        for name in fields
    ]
    return table(
        ["", *columns], rows, f"differences of {label}", class_="record wide cards", numeric=False
    )
