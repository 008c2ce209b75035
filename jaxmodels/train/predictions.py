"""Lines of predictions, and their files: JSON objects, or the rows of a table."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import jax
import numpy as np

from jaxmodels.protocol import PyTree, State
from jaxmodels.train.evaluation import batch_size_for, map_examples
from jaxmodels.train.experiment import Prediction

Line = dict[str, Any]


def write_json_lines(file: BinaryIO, lines: Iterable[Line]) -> None:
    """Writes a JSON object a line."""
    for line in lines:
        file.write(json.dumps(line).encode() + b"\n")


def write_table(file: BinaryIO, lines: Iterable[Line]) -> None:
    """Writes CSV with the columns of the first line without an error, and "error". Values that
    belong together have a column each: probabilities.cat, latent.0. Texts are joined by ";". What a
    line may have any number of, as boxes or entities, is JSON in one column. What later lines alone
    have, as a mark that a text was cut, has no column.

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
    how: Any = {"restval": "", "extrasaction": "ignore", "lineterminator": "\n"}
    writer = csv.DictWriter(text, [*line, "error"], **how)
    writer.writeheader()
    return writer


def _flat(line: Line) -> Line:
    flat: Line = {}
    lists = [value for value in line.values() if isinstance(value, list)]
    # Beside records, as boxes, other numbers are one for each of these.
    has_records = any(isinstance(part, dict | list) for value in lists for part in value)
    for name, value in line.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": part for inner, part in value.items()}
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            flat[name] = ";".join(value)
        elif isinstance(value, list) and has_records:
            flat[name] = json.dumps(value)
        elif isinstance(value, list):
            flat |= {f"{name}.{number}": part for number, part in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _finite(line: Line) -> Line:
    """Returns a line whose numbers are finite, or its error: JSON has no other numbers."""
    numbers = (leaf for leaf in jax.tree.leaves(line) if isinstance(leaf, float))
    if all(map(math.isfinite, numbers)):
        return line
    return {"error": "the model's numbers for it are not finite"}


def predicted(
    prediction: Prediction, state: State, inputs: Any, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yields the lines of all examples; no more than a batch of them is in memory at once. Batches
    are those of an evaluation of these examples."""
    names: list[str] = []
    good_ones, is_first = 0, True
    read: list[Mapping[str, np.ndarray] | Exception] = []

    def lines() -> Iterator[dict[str, Any]]:
        good = [columns for columns in read if not isinstance(columns, Exception)]
        outputs: PyTree = None
        if good:
            batch = {name: np.stack([columns[name] for columns in good]) for name in good[0]}
            size = batch_size_for(len(good), batch_size) if is_first else batch_size
            outputs = map_examples(prediction.predict, state, batch, size)
        at = 0
        for name, columns in zip(names, read):
            if isinstance(columns, Exception):
                yield {"input": name, "error": str(columns)}
                continue
            row = jax.tree.map(lambda leaf, at=at: leaf[at], outputs)
            yield {"input": name, **_finite(prediction.write(row))}
            at += 1

    for name, columns in prediction.read(inputs):
        if isinstance(columns, Exception) and not names:
            yield {"input": name, "error": str(columns)}
            continue
        names.append(name)
        read.append(columns)
        good_ones += not isinstance(columns, Exception)
        if good_ones == batch_size:
            yield from lines()
            good_ones, is_first = 0, False
            names.clear()
            read.clear()
    yield from lines()
