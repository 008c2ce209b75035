"""The confusion matrix and the scores per class of a classifier's evaluation."""

from pathlib import Path

from jaxmodels.report.detections import errors_of
from jaxmodels.report.html import Html, cell_of, element, plain_number, scrolling, table
from jaxmodels.run_record import is_number

MOST_CLASSES = 40
_MANY_CLASSES = 16
_MOST_PAIRS = 30


def classes_of(evaluation: dict[str, dict], folder: Path | None = None) -> tuple[Html | None, bool]:
    """Shows the matrix and the table of each split; also tells whether a matrix shows all classes.

    folder: where the files of the data lie, for links to those that were taken for another class.

    Test comes first and the other splits are folded away.
    """
    order = {"test": 0, "validation": 1}
    splits = sorted(
        (split for split in evaluation if _names(evaluation[split])),
        key=lambda split: order.get(split, 2),
    )
    if not splits:
        return None, False
    parts, complete = [], False
    for index, split in enumerate(splits):
        report = evaluation[split]
        names, confusion = _names(report), _confusion(report)
        complete |= confusion is not None and len(names) <= MOST_CLASSES
        matrix = _matrix(names, confusion) if confusion else None
        content = [matrix, _per_class(report, names), errors_of(report)]
        title = f"{split}, step {_step(report)}"
        # A matrix of many classes needs the width of the page.
        shape = "pair stacked" if len(names) > _MANY_CLASSES else "pair"
        columns = element("div", content, class_=shape)
        if index:
            parts.append(element("details", element("summary", title), columns))
        else:
            parts += [element("h3", title), columns]
        if mistakes := _mistakes(report, folder):
            parts.append(mistakes)
    return element("div", parts), complete


def _mistakes(report: dict, folder: Path | None) -> Html | None:
    """Lists the files that were taken for another class, linked where they still lie there."""
    found = report.get("misclassified")
    found = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if not found:
        return None
    rows = []
    for each in found:
        name, confidence = str(each.get("input")), each.get("confidence")
        path = folder / name if folder else None
        is_there = path is not None and path.is_file()
        shown = element("a", name, href=path.resolve().as_uri()) if path and is_there else name
        sure = f"{confidence:.2f}" if isinstance(confidence, float) else "–"
        cells = [cell_of(str(each.get(n)), "td") for n in ("true", "predicted")]
        rows.append([element("th", shown, scope="row"), *cells, sure])
    title = element("summary", f"{len(rows):,} misclassified files, most confidently wrong first")
    header = ["file", "true", "predicted", "confidence"]
    return element("details", title, table(header, rows, "misclassified files"))


def _step(report: dict) -> str:
    """Formats the step of a record."""
    step = report.get("step")
    return f"{step:,}" if isinstance(step, int) else "unknown"


def _names(report: dict) -> list[str]:
    """Names the classes of a record; none where it has no scores per class."""
    per_class = report.get("per_class")
    if not isinstance(per_class, dict):
        return []
    return list(per_class) if all(isinstance(row, dict) for row in per_class.values()) else []


def _confusion(report: dict) -> list[list[int]] | None:
    """Reads counts with a row for each true class; None where they are no square of counts."""
    rows, size = report.get("confusion"), len(_names(report))
    if not isinstance(rows, list) or len(rows) != size:
        return None
    for row in rows:
        if not isinstance(row, list) or len(row) != size:
            return None
        if not all(isinstance(count, int) and count >= 0 for count in row):
            return None
    return rows


def _matrix(names: list[str], confusion: list[list[int]]) -> Html:
    """Shows the confusion matrix, or the commonest confusions of very many classes."""
    total = sum(map(sum, confusion))
    wrong = total - sum(row[index] for index, row in enumerate(confusion))
    note = element("p", f"{wrong:,} of {total:,} wrong. ", class_="note")
    if len(names) > MOST_CLASSES:
        return element("div", element("h4", "Commonest confusions"), note, _pairs(names, confusion))
    key = element(
        "p",
        "Shade: share of the true class; ",
        element("span", "right", class_="key hit"),
        " ",
        element("span", "wrong", class_="key miss"),
        class_="note",
    )
    cells = scrolling(_matrix_table(names, confusion), "confusion matrix")
    return element("div", element("h4", "Confusion matrix"), note, cells, key)


def _matrix_table(names: list[str], confusion: list[list[int]]) -> Html:
    """Makes a table with a row for each true class and a column for each predicted one."""
    corner = element(
        "td", element("span", "true ↓"), element("span", "predicted →"), class_="corner"
    )
    upright = " upright" if max(map(len, names)) > 3 else ""
    tops = [
        element("th", element("span", name, title=name), scope="col", class_=f"class{upright}")
        for name in names
    ]
    rows = []
    for row, (name, counts) in enumerate(zip(names, confusion)):
        cells = [_cell(names, row, column, counts) for column in range(len(counts))]
        head = element("th", element("span", name, title=name), scope="row", class_="class")
        rows.append(element("tr", head, cells))
    return element(
        "table",
        element("thead", element("tr", corner, tops)),
        element("tbody", rows),
        class_="matrix small" if len(names) > _MANY_CLASSES else "matrix",
    )


def _cell(names: list[str], row: int, column: int, counts: list[int]) -> Html:
    """Makes the cell of a count, shaded by the share of the true class."""
    count, total = counts[column], sum(counts)
    if not count:
        return element("td", "·", class_="zero")
    # The lightest shade is visible, because a single mistake among thousands must be seen.
    level = max(1, round(10 * count / total))
    kind = "hit" if row == column else "miss"
    title = f"true {names[row]}, predicted {names[column]}: {count:,} of {total:,}"
    return element("td", f"{count:,}", class_=f"{kind} l{level}", title=title)


def _pairs(names: list[str], confusion: list[list[int]]) -> Html:
    """Lists the commonest mistakes among more classes than a matrix can show."""
    mistakes = [
        (count, row, column)
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    mistakes.sort(key=lambda pair: (-pair[0], pair[1:]))
    rows = [
        [names[row], cell_of(names[column], "td"), f"{count:,}"]
        for count, row, column in mistakes[:_MOST_PAIRS]
    ]
    return table(["true", "predicted", "count"], rows, "commonest confusions")


def _per_class(report: dict, names: list[str]) -> Html:
    """Makes the table of the scores per class and of their averages."""
    columns = ["precision", "recall", "f1", "support"]
    known = {column for row in report["per_class"].values() for column in row}
    if "average_precision" in known:
        columns.append("average_precision")
    if "ap" in known:
        columns = ["ap", "ap50", "ap75", "support"]
    rows = [[name, *(_value(report["per_class"][name], c) for c in columns)] for name in names]
    trained = report.get("trained_on")
    if isinstance(trained, dict):
        columns.append("trained")
        rows = [[*row, _value(trained, name)] for row, name in zip(rows, names)]
    for average in ("macro", "micro", "weighted"):
        if isinstance(report.get(average), dict):
            cells = [_value(report[average], column) for column in columns]
            rows.append([element("th", average, scope="row", class_="average"), *cells])
    header = ["class", *(column.replace("_", " ") for column in columns)]
    content = table(header, rows, "scores per class", class_="compact")
    if len(names) > MOST_CLASSES:
        content = element("details", element("summary", f"All {len(names):,} classes"), content)
    return element("div", element("h4", "Scores per class"), content)


def _value(scores: dict, name: str) -> str:
    """Shows a score, or that there is none."""
    value = scores.get(name)
    if not is_number(value):
        return "–"
    return plain_number(value) if isinstance(value, int) else f"{value:.4f}"
