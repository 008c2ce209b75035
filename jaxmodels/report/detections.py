"""The errors of a detector by kind."""

from jaxmodels.report.html import Html, element, plain_number, table
from jaxmodels.run_record import is_number

_GAIN = "Gain: of AP50, if all errors of the kind were set right and the others stayed (TIDE)."


def errors_of(report: dict) -> Html | None:
    """Shows how many errors of each kind a record has and what AP at an IoU of 0.5 they cost; None
    for one without such."""
    errors = report.get("errors")
    if not isinstance(errors, dict):
        return None
    rows = []
    for kind, found in errors.items():
        if not isinstance(found, dict):
            return None
        count, cost = found.get("count"), found.get("cost")
        shown = plain_number(count) if isinstance(count, int) else "–"
        lost = f"{cost:+.4f}" if isinstance(cost, float) and is_number(cost) else "–"
        rows.append([element("th", str(kind), scope="row"), shown, lost])
    note = element("p", _counted(report) + _GAIN, class_="note")
    content = table(["error", "count", "gain"], rows, "errors by kind", class_="compact")
    return element("div", element("h4", "Errors by kind"), content, note)


def _counted(report: dict) -> str:
    """Says which detections the counts are of."""
    least = report.get("score_threshold")
    if not isinstance(least, float) or not is_number(least):
        return ""
    return (
        f"Count: at scores of {least:.2f} and above, where F1 is best; an object is missed if none"
        " of these hits it or errs in its class or place alone. The gain counts all detections. "
    )
