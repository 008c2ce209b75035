"""The page of several runs beside one another."""

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
from jaxmodels.report.run import Run
from jaxmodels.report.scores import direction, lower_is_better
from jaxmodels.report.summary import device_of, duration

# What differs between any two runs and means nothing.
_NAMES_ONLY = {"workdir", "overwrite", "accept_code_change", "output", "count", "mode"}
_MOST_SCORES = 5  # columns of other scores in the table


def comparison_page(runs: list[Run], metric: str | None = None, lower: bool | None = None) -> str:
    """The whole page, as text; runs sorted by the metric, the best first.

    Raises:
      InputError: the same folder twice, or no run has the metric.
    """
    found: dict[Path, Run] = {}
    for run in runs:
        if run.path.resolve() in found:
            raise InputError(f"run {run.path} is given twice; expected different folders")
        found[run.path.resolve()] = run
    metric, lower = choose(runs, metric, lower)
    sign = 1 if lower else -1

    def rank(run: Run) -> tuple:
        value = _value(run, metric)
        return (value is None, 0 if value is None else sign * value, str(run.path))

    runs = sorted(runs, key=rank)
    names = short_names([run.path for run in runs])
    charts = compared_curves(names, runs, metric)
    legend = [(name, colour_of_run(index)) for index, name in enumerate(names)]
    note = f"Sorted by the last {metric}; {direction(lower)}."
    sections = [
        Section("runs", "Runs", [_table(names, runs, metric)], note),
        Section("curves", "Curves", [panels("curves", charts, legend)]) if charts else None,
        Section("differences", "Differences", _differences(names, runs)),
    ]
    experiments = " and ".join(dict.fromkeys(str(run.record["experiment"]) for run in runs))
    data = ", ".join(dict.fromkeys(str(run.config.get("data", "unknown")) for run in runs))
    title = f"{len(runs)} runs · {data}"
    head = heading(f"{experiments} comparison", title, f"by {metric}")
    body = [head, *navigated([part for part in sections if part]), footer()]
    return document(title, body, {"curves": charts})


def choose(runs: list[Run], metric: str | None, lower: bool | None) -> tuple[str, bool]:
    """The metric as SPLIT/SCORE and whether lower is better.

    None: the score that the runs monitor or, if they recorded none, the first of their evaluations;
    of test if all runs have it, else of validation. Its direction is the recorded one, or guessed.

    Raises:
      InputError: no run has it.
    """
    known = list(
        dict.fromkeys(f"{s}/{n}" for run in runs for s in run.splits for n in run.scores(s))
    )
    if not known:
        raise InputError("the runs have no scores yet; expected lines in a metrics.jsonl")
    monitored = [run.monitor for run in runs if run.monitor]
    if metric is None:
        score = monitored[0][0] if monitored else known[0].split("/", 1)[1]
        wanted = {f"{split}/{score}" for split in ("test", "validation")} & set(known)
        candidates = sorted(wanted) or known  # test comes before validation

        def has_it(key: str) -> int:
            return sum(_value(run, key) is not None for run in runs)

        metric = max(candidates, key=has_it)  # of equal ones the first
    require_known("metric", metric, known)
    if lower is None:
        score = metric.split("/", 1)[1]
        lower = dict(monitored).get(score, lower_is_better(score))
    return metric, lower


def short_names(paths: list[Path]) -> list[str]:
    """The ends of the paths, as short as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _value(run: Run, metric: str) -> float | None:
    split, score = metric.split("/", 1)
    return (run.last(split) or {}).get(score)


def _titled(index: int, name: str, run: Run | None = None) -> list:
    swatch = element("span", class_=f"swatch {colour_of_run(index)}")
    note = element("small", f"{run.config.get('model')} · {run.status[0]}") if run else None
    return [swatch, element("span", name, title=str(run.path) if run else None), note]


def _table(names: list[str], runs: list[Run], metric: str) -> Html:
    split, score = metric.split("/", 1)
    others = dict.fromkeys(name for run in runs for name in run.scores(split) if name != score)
    others = list(others)[:_MOST_SCORES]
    validated = split != "validation" and any(run.best_validation() for run in runs)
    header = ["run", metric, *(["best validation"] if validated else []), *others]
    rows = []
    for index, (name, run) in enumerate(zip(names, runs)):
        last = run.last(split) or {}
        cells = [cell_of(_score(last, score), "td", "number main")]
        if validated:
            best = run.best_validation()
            cells.append(
                cell_of(
                    [
                        number(best[run.monitor[0]]),
                        element("small", f"{run.monitor[0]}, step {best['step']:,}"),
                    ],
                    "td",
                    "number",
                )
                if best
                else "–"
            )
        cells += [_score(last, other) for other in others]
        cells += [
            f"{run.step:,}",
            duration(run.seconds) if run.seconds is not None else "–",
            plain_number(run.steps_per_second, 4) if run.steps_per_second else "–",
        ]
        head = element("th", _titled(index, name, run), scope="row", class_="run")
        rows.append([head, *cells])
    return table([*header, "steps", "training time", "steps/s"], rows, "runs", class_="runs")


def _score(line: dict, name: str) -> Html | str:
    return number(line[name]) if name in line else "–"


def _differences(names: list[str], runs: list[Run]) -> list[Html]:
    """Only what is not the same in all runs: flags, then data, software and machine."""
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
    return "; ".join(dict.fromkeys(", ".join(device_of(run)) for run in runs))


def _differing(values: list[dict], without: set[str] = frozenset()) -> list[str]:
    known = dict.fromkeys(name for each in values for name in each if name not in without)
    missing = object()
    return [
        name
        for name in known
        if any(each.get(name, missing) != values[0].get(name, missing) for each in values)
    ]


def _differences_table(names: list[str], values: list[dict], fields: list[str], label: str) -> Html:
    if not fields:
        return element("p", "The same in all runs.", class_="note")
    header = ["", *(element("th", _titled(i, n), scope="col") for i, n in enumerate(names))]
    rows = [
        [field(name), *(setting(each[name]) if name in each else "–" for each in values)]
        for name in fields
    ]
    return table(header, rows, f"differences of {label}", class_="record wide", numeric=False)
