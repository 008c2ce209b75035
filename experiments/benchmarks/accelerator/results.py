"""Results of parts: one JSON file each, rewritten with every row, and tables of these files."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.files import read_json, write_json

DETAIL = "detail"  # a column that tables leave out


class Results:
    """The rows of one part. A row is {column: text, number or None}; "detail" may hold any JSON."""

    def __init__(self, folder: Path, part: str, device: Mapping[str, Any]):
        self.path = folder / f"{part}.json"
        self._columns: list[str] = []
        self._lock = threading.Lock()  # rows may come from several threads
        self._began = time.monotonic()
        self._content: dict[str, Any] = {
            "part": part,
            "status": "running",  # stays if the script is killed
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": 0.0,
            "device": dict(device),
            "notes": [],
            "rows": [],
        }
        self._write()

    @property
    def status(self) -> str:
        """running, done, skipped or failed."""
        return self._content["status"]

    def add(self, **row: Any) -> None:
        """Writes a row to the file and prints it."""
        with self._lock:
            self._content["rows"].append(row)
            self._write()
            columns = columns_of([row])
            if columns != self._columns:
                self._columns = columns
                print("\n" + "\n".join(heading(columns)))
            print(line(columns, row), flush=True)

    def note(self, text: str) -> None:
        """Writes a remark to the file and prints it."""
        self._content["notes"].append(text)
        self._write()
        print(text, flush=True)

    def end(self, status: str, error: str = "") -> None:
        """Writes how the part ended: done, skipped, or failed with an error."""
        self._content["status"] = status
        if error:
            self._content["error"] = error
        self._write()

    def _write(self) -> None:
        self._content["seconds"] = round(time.monotonic() - self._began, 1)
        write_json(self.path, self._content)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists the columns of rows, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row if name != DETAIL))


def heading(columns: Sequence[str]) -> list[str]:
    """Makes the first two lines of a table in Markdown."""
    return [
        "| " + " | ".join(name.replace("_", " ") for name in columns) + " |",
        "|" + "---|" * len(columns),
    ]


def line(columns: Sequence[str], row: Mapping[str, Any]) -> str:
    """Makes a row of a table in Markdown."""
    return "| " + " | ".join(cell(row.get(name)) for name in columns) + " |"


def cell(value: Any) -> str:
    """Writes a value for a table: numbers to four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "/").replace("\n", " ")
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def tables(folder: Path, parts: Sequence[str]) -> str:
    """Makes the tables of all parts that have a file, in this order."""
    texts = []
    for part in parts:
        content = read_json(folder / f"{part}.json")
        if content is None:
            continue
        device = content["device"]
        machine = f"{device.get('device_kind')}, jax {device.get('jax')}"
        if device.get("torch"):
            machine += f", torch {device['torch']}"
        state = "" if content["status"] == "done" else f", {content['status']}"
        lines = [f"### {part}", "", f"{machine}; {content['began']}{state}", ""]
        if content["rows"]:
            columns = columns_of(content["rows"])
            lines += [*heading(columns), *(line(columns, row) for row in content["rows"]), ""]
        lines += [f"- {note}" for note in content["notes"]]
        if content.get("error"):
            lines.append(f"- error: {content['error'].strip().splitlines()[-1]}")
        texts.append("\n".join(lines).rstrip())
    return "\n\n".join(texts)
