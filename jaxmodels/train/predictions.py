"""Lines of predictions in a file: JSON objects, or the rows of a table."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

Line = dict[str, Any]


def write_json_lines(file: BinaryIO, lines: Iterable[Line]) -> None:
    """Writes a JSON object a line."""
    for line in lines:
        file.write(json.dumps(line).encode() + b"\n")


def write_table(file: BinaryIO, lines: Iterable[Line]) -> None:
    """Writes CSV with the columns of the first line without an error, and "error". Values that
    belong together have a column each: probabilities.cat, latent.0. Several texts are joined by ";".

    Only lines with errors that come before all others are held in memory.
    """
    # A file's name may hold bytes that are not text.
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    writer, waiting = None, []
    for line in lines:
        waiting.append(_flat(line))
        if writer is None and "error" not in line:
            writer = _begun(text, waiting[-1])
        if writer is not None:
            writer.writerows(waiting)
            waiting.clear()
    if writer is None:
        _begun(text, {"input": ""}).writerows(waiting)
    text.flush()
    text.detach()  # otherwise it would close the file


WRITERS: dict[str, Callable[[BinaryIO, Iterable[Line]], None]] = {
    ".jsonl": write_json_lines,
    ".csv": write_table,
}


def _begun(text: io.TextIOWrapper, line: Line) -> csv.DictWriter:
    writer = csv.DictWriter(text, [*line, "error"], restval="", lineterminator="\n")
    writer.writeheader()
    return writer


def _flat(line: Line) -> Line:
    flat: Line = {}
    for name, value in line.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": part for inner, part in value.items()}
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            flat[name] = ";".join(value)
        elif isinstance(value, list):
            flat |= {f"{name}.{number}": part for number, part in enumerate(value)}
        else:
            flat[name] = value
    return flat
