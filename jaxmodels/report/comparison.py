"""The page of several runs beside one another."""

from collections.abc import Set
from pathlib import Path

from jaxmodels.errors import InputError, require_known
from jaxmodels.report.charts import colour_of_run, compared_curves, panels
from jaxmodels.report.html import (
    Html,
    cell_of,
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

# Flags whose differences do not matter.
_NAMES_ONLY = {"workdir", "overwrite", "accept_code_change", "output", "count", "mode"}
_MOST_SCORES = 5  # columns of other scores in the table


def comparison_page(
    runs: list[Run], metric: str | None = None, better: Better | None = None
) -> str:
    """Writes the whole page. Runs are sorted by the metric, the best first.

    metric, better: None: see `choose_metric`, `choose_direction`. Where neither direction is known
    to be better, the runs stay in the order in which they were given.

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
    if better:
        runs = _sorted(runs, metric, better)
    names = short_names([run.path for run in runs])
    charts = compared_curves(names, runs, metric)
    legend = [(name, colour_of_run(index)) for index, name in enumerate(names)]
    sections = [
        Section("runs", "Runs", [_table(names, runs, metric)], _note(runs, metric, better)),
        Section("curves", "Curves", [panels("curves", charts, legend)]) if charts else None,
        Section("differences", "Differences", _differences(names, runs)),
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
    directions = (run.declared(score).better for run in runs)
    recorded: set[Better] = {better for better in directions if better}
    return recorded.pop() if len(recorded) == 1 else None


def _sorted(runs: list[Run], metric: str, better: Better) -> list[Run]:
    """Sorts the runs, the best first and those without the metric last."""
    sign = {"lower": 1, "higher": -1}[better]

    def rank(run: Run) -> tuple:
        value = _value(run, metric)
        return (value is None, 0 if value is None else sign * value, str(run.path))

    return sorted(runs, key=rank)


def _note(runs: list[Run], metric: str, better: Better | None) -> str:
    """Says how the runs are sorted and what the metric means."""
    if better:
        note = f"Sorted by the last {metric}; {direction(better)}."
    else:
        note = (
            f"In the order given, as no direction of {metric} is recorded as the better one;"
            " --better lower or --better higher sorts the runs by it."
        )
    meaning = declared_by(runs, metric.split("/", 1)[1]).meaning
    return f"{note} {metric}: {meaning}" if meaning else note


def short_names(paths: list[Path]) -> list[str]:
    """Shortens paths to ends that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _value(run: Run, metric: str) -> float | None:
    """Finds the last value of SPLIT/SCORE."""
    split, score = metric.split("/", 1)
    return (run.last(split) or {}).get(score)


def _titled(index: int, name: str, run: Run | None = None) -> list:
    """Makes the heading of a run, with the colour of its lines."""
    swatch = element("span", class_=f"swatch {colour_of_run(index)}")
    note = element("small", f"{run.config.get('model')} · {run.status[0]}") if run else None
    return [swatch, element("span", name, title=str(run.path) if run else None), note]


def _table(names: list[str], runs: list[Run], metric: str) -> Html:
    """Makes the table of the runs with their last scores of the metric's split."""
    split, score = metric.split("/", 1)
    others = dict.fromkeys(name for run in runs for name in run.scores(split) if name != score)
    others = list(others)[:_MOST_SCORES]
    validated = split != "validation" and any(run.best_validation() for run in runs)
    header = [
        "run",
        _heading(metric, declared_by(runs, score)),
        *(["best validation"] if validated else []),
        *(_heading(other, declared_by(runs, other)) for other in others),
        *("steps", "training time", "steps/s"),
    ]
    rows = []
    for index, (name, run) in enumerate(zip(names, runs)):
        last = run.last(split) or {}
        rows.append(
            [
                element("th", _titled(index, name, run), scope="row", class_="run"),
                cell_of(_score(last, score), "td", "number main"),
                *([_best_validation(run)] if validated else []),
                *(_score(last, other) for other in others),
                f"{run.step:,}",
                duration(run.seconds) if run.seconds is not None else "–",
                plain_number(run.steps_per_second, 4) if run.steps_per_second else "–",
            ]
        )
    return table(header, rows, "runs", class_="runs")


def _heading(name: str, declared: Score) -> Html:
    """Makes the heading of a column of scores: the name over the unit."""
    unit = element("small", declared.unit) if declared.unit else None
    return element("th", name, unit, scope="col", title=declared.meaning or None)


def _best_validation(run: Run) -> Html | str:
    """Shows the best monitored score of validation, or that there is none."""
    best = run.best_validation()
    if best is None:
        return "–"
    note = element("small", f"{run.monitor}, step {best['step']:,}")
    return cell_of([number(best[run.monitor]), note], "td", "number")


def _score(line: dict, name: str) -> Html | str:
    """Shows a score of a line, or that the line has none."""
    return number(line[name]) if name in line else "–"


def _differences(names: list[str], runs: list[Run]) -> list[Html]:
    """Shows what is not the same in all runs: flags, then data, software and machine."""
    configs = [run.config for run in runs]
    fields = _differing(configs, _NAMES_ONLY)
    surroundings = [flatten(run.facts | run.environment) for run in runs]
    return [
        element("h3", "Config"),
        _differences_table(names, configs, fields, "config"),
        element("h3", "Data and environment"),
        _differences_table(names, surroundings, _differing(surroundings), "environment"),
        element("p", f"On {_devices(runs)}.", class_="note"),
    ]


def _devices(runs: list[Run]) -> str:
    """Names the devices of all runs."""
    return "; ".join(dict.fromkeys(", ".join(device_of(run)) for run in runs))


def _differing(values: list[dict], without: Set[str] = frozenset()) -> list[str]:
    """Names the fields whose values are not the same everywhere."""
    known = dict.fromkeys(name for each in values for name in each if name not in without)
    missing = object()
    return [
        name
        for name in known
        if any(each.get(name, missing) != values[0].get(name, missing) for each in values)
    ]


def _differences_table(names: list[str], values: list[dict], fields: list[str], label: str) -> Html:
    """Makes a table with a row for each field and a column for each run."""
    if not fields:
        return element("p", "The same in all runs.", class_="note")
    columns = [element("th", _titled(i, name), scope="col") for i, name in enumerate(names)]
    rows = [
        [field(name), *(setting(each[name]) if name in each else "–" for each in values)]
        for name in fields
    ]
    return table(
        ["", *columns], rows, f"differences of {label}", class_="record wide", numeric=False
    )
