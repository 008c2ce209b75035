"""The page of one run."""

import shlex

from jaxmodels.report.charts import chart, colour_of_split, curves_of, panels, series
from jaxmodels.report.classes import classes_of
from jaxmodels.report.html import (
    Html,
    cell_of,
    document,
    element,
    field,
    flatten,
    setting,
    table,
)
from jaxmodels.report.layout import Section, footer, heading, navigated
from jaxmodels.report.pictures import pictures_of
from jaxmodels.report.run import Run
from jaxmodels.report.summary import summary_of


def run_page(run: Run) -> str:
    """The whole page, as text."""
    title = " · ".join(str(run.config.get(name, "unknown")) for name in ("data", "model"))
    charts, speed = curves_of(run), _speed_charts(run)
    classes, has_matrix = classes_of(run.evaluation)
    pictures = pictures_of(run.pictures, {"confusion"} if has_matrix else set())
    legend = [(split, colour_of_split(split, index)) for index, split in enumerate(run.splits)]
    sections = [
        Section("summary", "Summary", summary_of(run)),
        Section("curves", "Curves", [panels("curves", charts, legend)]) if charts else None,
        Section("classes", "Classes", [classes]) if classes else None,
        Section("pictures", "Pictures", [pictures]) if pictures else None,
        _speed(run, speed),
        _protocol(run),
        Section("config", "Config", [_config(run)], _config_note(run)),
        Section("environment", "Data and environment", [_environment(run)]),
    ]
    name = run.path.resolve().name
    head = heading(f"{run.record['experiment']} run", title, name, run.status)
    body = [head, *navigated([part for part in sections if part]), footer()]
    return document(f"{title} · {name}", body, {"curves": charts, "speed": speed})


def _speed_charts(run: Run) -> list[dict]:
    """The rates; of steps that were run again after a kill, the later ones."""
    charts = []
    for name in ("steps_per_second", "examples_per_second"):
        points = {line["step"]: line[name] for line in run.speed if line.get(name) is not None}
        if len(points) > 1:
            line = series("training", "train", sorted(points.items()))
            charts.append(chart(name.replace("_", " "), [line]) | {"log": False})
    return charts


def _speed(run: Run, charts: list[dict]) -> Section | None:
    if not charts:
        return None
    note = "Training alone: compiling, evaluating and saving are left out."
    content = panels("speed", charts, [("training", "train")], hint=False)
    return Section("speed", "Speed", [content], note)


def _protocol(run: Run) -> Section | None:
    """How each number of evaluation.json was taken."""
    parts = []
    for split, report in sorted(run.evaluation.items(), key=lambda item: item[0] != "test"):
        if not isinstance(report.get("protocol"), dict):
            continue
        step = report.get("step")
        title = f"{split}, step {step:,}" if isinstance(step, int) else split
        rows = [
            [field(name), setting(value)] for name, value in flatten(report["protocol"]).items()
        ]
        if report.get("collapse"):
            rows.insert(0, ["collapse", setting(report["collapse"])])
        content = table(None, rows, f"protocol of {split}", class_="record", numeric=False)
        parts.append(element("details", element("summary", title), content, open=not parts))
    if not parts:
        return None
    return Section("protocol", "Protocol", parts, "How the scores were taken.")


def _given(run: Run) -> set[str]:
    """Fields that the command gives, those that differ from their defaults."""
    command = run.record.get("command")
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        words = []
    flags = {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return flags | {flag.removeprefix("no_") for flag in flags}


def _config_note(run: Run) -> str | None:
    return "Bold: other than the default." if _given(run) & run.config.keys() else None


def _config(run: Run) -> Html:
    given = _given(run)
    rows = [
        [
            element("th", field(name), scope="row", class_="given" if name in given else None),
            cell_of(setting(value), "td", "given" if name in given else None),
        ]
        for name, value in run.config.items()
    ]
    half = -(-len(rows) // 2)
    halves = [
        table(None, part, label, class_="record", numeric=False)
        for part, label in ((rows[:half], "config"), (rows[half:], "config, continued"))
        if part
    ]
    return element("div", halves, class_="pair even")


def _environment(run: Run) -> Html:
    tables = []
    for title, values in (("Data", run.facts), ("Environment", run.environment)):
        if values:
            rows = [[field(name), setting(value)] for name, value in flatten(values).items()]
            content = table(None, rows, title, class_="record", numeric=False)
            tables.append(element("div", element("h3", title), content))
    return element("div", tables, class_="pair even")
