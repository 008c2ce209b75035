"""The page of one run."""

import re
import shlex

from jaxmodels.report.charts import chart, colour_of_split, curves_of, panels, series
from jaxmodels.report.classes import classes_of
from jaxmodels.report.columns import COLUMNS, columns_of
from jaxmodels.report.goodput import goodput_of
from jaxmodels.report.html import (
    Html,
    cell_of,
    document,
    element,
    field,
    flatten,
    number,
    setting,
    table,
)
from jaxmodels.report.layout import Section, footer, heading, navigated
from jaxmodels.report.run import BEST, Run
from jaxmodels.report.samples import samples_of
from jaxmodels.report.summary import summary_of
from jaxmodels.run_record import MFU_COUNTS

# What is drawn of speed.jsonl, with its title.
_RATES = {
    "steps_per_second": "steps per second",
    "examples_per_second": "examples per second",
    "tokens_per_second": "tokens per second",
    "mfu": "MFU",
}
_MFU_NOTE = f"MFU is a share of the chip's peak in dense bfloat16, and counts {MFU_COUNTS}."
_MOST_LISTED = 8  # parts of a fact of the data that are shown without being asked for


def run_page(run: Run) -> str:
    """Writes the whole page."""
    title = title_of(run)
    charts, speed = curves_of(run), _speed_charts(run)
    classes, has_matrix = classes_of(run.evaluation, run.data_folder)
    # The page has the matrix as a table, so its picture would repeat it.
    samples = samples_of(run.samples, {"confusion.png"} if has_matrix else set())
    legend = [(split, colour_of_split(split, index)) for index, split in enumerate(run.splits)]
    sections = [
        Section("summary", "Summary", summary_of(run)),
        Section("curves", "Curves", [panels("curves", charts, legend)]) if charts else None,
        Section("classes", "Classes", [classes]) if classes else None,
        *samples,
        _speed(run, speed),
        _protocol(run),
        columns_of(run.facts),
        Section("config", "Config", [_config(run)], _config_note(run)),
        Section("environment", "Data and environment", [_environment(run)]),
    ]
    name = run.path.resolve().name
    head = heading(f"{run.record['experiment']} run", title, name, run.status)
    body = [head, *navigated([part for part in sections if part]), footer()]
    return document(f"{title} · {name}", body, {"curves": charts, "speed": speed})


def title_of(run: Run) -> str:
    """Names the data and the model of a run; without both, its script or its experiment."""
    known = [str(run.config[name]) for name in ("data", "model") if name in run.config]
    return " · ".join(known) or _script_of(run) or str(run.record["experiment"])


def _script_of(run: Run) -> str | None:
    """Returns the name of the program in the recorded command, of a module its last part."""
    command = run.record.get("command")
    found = re.match(r"python (?:-m (\S+)|.*?([^/ ]+)\.py(?= |$))", str(command))
    return (found[1] or found[2]).rpartition(".")[2] if found else None


def _speed_charts(run: Run) -> list[dict]:
    """Makes the charts of the rates; of steps that were run twice, the later ones count."""
    charts = []
    for name, title in _RATES.items():
        points = {line["step"]: line[name] for line in run.speed if line.get(name) is not None}
        if len(points) > 1:
            line = series("training", "train", sorted(points.items()))
            charts.append(chart(title, [line]) | {"log": False})
    return charts


def _speed(run: Run, charts: list[dict]) -> Section | None:
    """Shows how fast the run trained, and where its time went."""
    goodput = goodput_of(run.path)
    content = [panels("speed", charts, [("training", "train")], hint=False)] if charts else []
    if not content and goodput is None:
        return None
    note = "Training alone: compiling, evaluating and saving are left out." if charts else None
    if any(chart["title"] == _RATES["mfu"] for chart in charts):
        note = f"{note} {_MFU_NOTE}"
    return Section("speed", "Speed", [*content, *([goodput] if goodput else [])], note)


def _protocol(run: Run) -> Section | None:
    """Shows how each number of evaluation.json was taken; the best checkpoint comes last."""
    reports = sorted(run.evaluation.items(), key=lambda item: item[0] != "test")
    parts = []
    for name, report in [*reports, (BEST, run.best)]:
        rows = _protocol_rows(report, with_scores=name == BEST)
        if rows:
            step = report.get("step")
            title = f"{name}, step {step:,}" if isinstance(step, int) else name
            content = table(None, rows, f"protocol of {name}", class_="record", numeric=False)
            parts.append(element("details", element("summary", title), content, open=not parts))
    if not parts:
        return None
    return Section("protocol", "Protocol", parts, "How the scores were taken.")


def _protocol_rows(report: dict, with_scores: bool) -> list[list]:
    """Lists what a record says of its protocol.

    with_scores: lists its scores too, which are nowhere else on the page.
    """
    protocol, scores = report.get("protocol"), report.get("scores")
    rows = []
    if report.get("collapse"):
        rows.append(["collapse", setting(report["collapse"])])
    if with_scores and isinstance(scores, dict):
        for name, value in flatten(scores).items():
            rows.append([field(name), number(value) if type(value) is float else setting(value)])
    if isinstance(protocol, dict):
        rows += [[field(name), setting(value)] for name, value in flatten(protocol).items()]
    return rows


def _given(run: Run) -> set[str]:
    """Names the fields in the recorded command, which are those that differ from their defaults."""
    command = run.record.get("command")
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        words = []
    flags = {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return flags | {flag.removeprefix("no_") for flag in flags}


def _config_note(run: Run) -> str | None:
    """Explains the bold fields, if there are any."""
    return "Bold: other than the default." if _given(run) & run.config.keys() else None


def _config(run: Run) -> Html:
    """Shows all flags."""
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
    """Shows what was recorded of the data, the software and the machine."""
    tables = []
    facts = {name: value for name, value in run.facts.items() if name != COLUMNS}
    for title, values in (("Data", facts), ("Environment", run.environment)):
        if values:
            rows = [[field(name), _folded(value)] for name, value in flatten(values).items()]
            content = table(None, rows, title, class_="record", numeric=False)
            tables.append(element("div", element("h3", title), content))
    return element("div", tables, class_="pair even")


def _folded(value: object) -> Html | str:
    """Writes a value; of a long list only the length, until it is opened."""
    if not isinstance(value, list) or len(value) <= _MOST_LISTED:
        return setting(value)
    lines = [element("div", str(part)) for part in value]
    return element("details", element("summary", f"{len(value):,} of them"), lines)
