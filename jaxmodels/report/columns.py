"""The columns of a table that a run learned from, as its facts describe them."""

from jaxmodels.report.html import Html, element, number, table
from jaxmodels.report.layout import Section
from jaxmodels.run_record import is_number

COLUMNS = "columns"  # the name of the fact
_STATISTICS = ("missing", "mean", "std", "median")
_MOST_VALUES, _MOST_ROWS = 8, 40


def columns_of(facts: dict) -> Section | None:
    """Shows a line for each column; None where the run did not learn from a table."""
    columns = facts.get(COLUMNS)
    if not isinstance(columns, dict) or not columns:
        return None
    if not all(isinstance(column, dict) for column in columns.values()):
        return None
    rows = [[name, *_cells(column)] for name, column in columns.items()]
    header = ["column", "kind", *_STATISTICS]
    if any("values" in column for column in columns.values()):
        header.append("values")
        rows = [[*row, _listed(column)] for row, column in zip(rows, columns.values())]
    content = table(header, rows, "columns", class_="compact")
    if len(rows) > _MOST_ROWS:
        content = element("details", element("summary", f"All {len(rows):,} columns"), content)
    note = "What the network saw, with the statistics of the training split that scale it."
    return Section("columns", "Columns", [content], note)


def _cells(column: dict) -> list[Html | str]:
    found = [number(column[n]) if is_number(column.get(n)) else "–" for n in _STATISTICS]
    return [str(column.get("kind")), *found]


def _listed(column: dict) -> str:
    values = column.get("values")
    if not isinstance(values, list):
        return "–"
    more = f" and {len(values) - _MOST_VALUES:,} more" if len(values) > _MOST_VALUES else ""
    return ", ".join(map(str, values[:_MOST_VALUES])) + more
