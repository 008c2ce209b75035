"""Confusion matrix and scores per class of a classifier's evaluation."""

from jaxmodels.report.html import Html, cell_of, element, plain_number, scrolling, table

MOST_CLASSES = 40
_MANY_CLASSES = 16
_MOST_PAIRS = 30


def classes_of(evaluation: dict[str, dict]) -> tuple[Html | None, bool]:
    """The matrix and the table of each split, of test first and the others folded away; and whether
    the matrix is shown in full."""
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
        content = [_matrix(names, confusion) if confusion else None, _per_class(report, names)]
        title = f"{split}, step {_step(report)}"
        # A matrix of many classes needs the width of the page.
        shape = "pair stacked" if len(names) > _MANY_CLASSES else "pair"
        columns = element("div", content, class_=shape)
        if index:
            parts.append(element("details", element("summary", title), columns))
        else:
            parts += [element("h3", title), columns]
    return element("div", parts), complete


def _step(report: dict) -> str:
    step = report.get("step")
    return f"{step:,}" if isinstance(step, int) else "unknown"


def _names(report: dict) -> list[str]:
    per_class = report.get("per_class")
    if not isinstance(per_class, dict):
        return []
    return list(per_class) if all(isinstance(row, dict) for row in per_class.values()) else []


def _confusion(report: dict) -> list[list[int]] | None:
    """Counts with a row for each true class, if they are there and square."""
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
    wrong = sum(map(sum, confusion)) - sum(row[index] for index, row in enumerate(confusion))
    total = sum(map(sum, confusion))
    note = element("p", f"{wrong:,} of {total:,} wrong. ", class_="note")
    if len(names) > MOST_CLASSES:
        return element("div", element("h4", "Commonest confusions"), note, _pairs(names, confusion))
    size = "matrix small" if len(names) > _MANY_CLASSES else "matrix"
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
    whole = element(
        "table",
        element("thead", element("tr", corner, tops)),
        element("tbody", rows),
        class_=size,
    )
    key = element(
        "p",
        "Shade: share of the true class; ",
        element("span", "right", class_="key hit"),
        " ",
        element("span", "wrong", class_="key miss"),
        class_="note",
    )
    heading = element("h4", "Confusion matrix")
    return element("div", heading, note, scrolling(whole, "confusion matrix"), key)


def _cell(names: list[str], row: int, column: int, counts: list[int]) -> Html:
    count, total = counts[column], sum(counts)
    if not count:
        return element("td", "·", class_="zero")
    # A single mistake among thousands must be seen, so the shade does not start at nothing.
    level = max(1, round(10 * count / total))
    kind = "hit" if row == column else "miss"
    title = f"true {names[row]}, predicted {names[column]}: {count:,} of {total:,}"
    return element("td", f"{count:,}", class_=f"{kind} l{level}", title=title)


def _pairs(names: list[str], confusion: list[list[int]]) -> Html:
    """The commonest mistakes of more classes than a table can show."""
    found = [
        (count, row, column)
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1:]))
    rows = [
        [names[row], cell_of(names[column], "td"), f"{count:,}"]
        for count, row, column in found[:_MOST_PAIRS]
    ]
    return table(["true", "predicted", "count"], rows, "commonest confusions")


def _per_class(report: dict, names: list[str]) -> Html:
    columns = ("precision", "recall", "f1", "support")
    rows = [[name, *(_value(report["per_class"][name], c) for c in columns)] for name in names]
    for average in ("macro", "micro", "weighted"):
        if isinstance(report.get(average), dict):
            cells = [_value(report[average], column) for column in columns]
            rows.append([element("th", average, scope="row", class_="average"), *cells])
    content = table(["class", *columns], rows, "scores per class", class_="compact")
    if len(names) > MOST_CLASSES:
        content = element("details", element("summary", f"All {len(names):,} classes"), content)
    return element("div", element("h4", "Scores per class"), content)


def _value(scores: dict, name: str) -> str:
    value = scores.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return "–"
    return plain_number(value) if isinstance(value, int) else f"{value:.4f}"
