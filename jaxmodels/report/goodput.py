"""Where the time of a run went, over all its processes."""

from pathlib import Path

from jaxmodels.files import read_json
from jaxmodels.report.html import Html, cell_of, element, table
from jaxmodels.report.summary import duration
from jaxmodels.run_record import is_number

# What each part is, in the order in which they are shown.
_PARTS = {
    "training": "steps that count",
    "repeating": "steps that were taken again after a restart",
    "waiting": "the devices had no data",
    "evaluating": "scores, samples and pictures",
    "saving": "checkpoints",
    "compiling": "the step",
    "restoring": "the first state, or that of a checkpoint",
    "starting": "imports and data",
}


def goodput_of(run: Path) -> Html | None:
    """Makes the table of the parts of the time; None where a run has kept none."""
    record = read_json(run / "goodput.json")
    sessions = record.get("sessions") if isinstance(record, dict) else None
    totals = dict.fromkeys(_PARTS, 0.0)
    for session in sessions if isinstance(sessions, list) else []:
        seconds = session.get("seconds") if isinstance(session, dict) else None
        for name, value in (seconds if isinstance(seconds, dict) else {}).items():
            if name in totals and is_number(value):
                totals[name] += value
    whole = sum(totals.values())
    if not whole:
        return None
    rows = [
        [_named(name, meaning), duration(totals[name]), f"{totals[name] / whole:.1%}"]
        for name, meaning in _PARTS.items()
        if totals[name]
    ]
    return table(["part", "time", "share"], rows, "where the time went", class_="scores")


def _named(name: str, meaning: str) -> Html:
    """Makes the first cell of a row: the name, and below it the meaning."""
    return cell_of([name, element("small", meaning, class_="meaning")], "th", scope="row")
