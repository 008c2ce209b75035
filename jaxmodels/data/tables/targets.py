"""The column of a table to predict: a number, a class or several labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxmodels.data.tables.encoding import nine_digits, not_of
from jaxmodels.data.tables.values import categories_in, lists_in, numbers_in
from jaxmodels.errors import InputError

if TYPE_CHECKING:
    import pyarrow

Task = Literal["regression", "classification", "multilabel"]
# Whole numbers are classes where there are no more of them, each of them often enough.
_MOST_CLASSES, _ROWS_OF_CLASS = 20, 5


class Target(NamedTuple):
    """What is predicted.

    names: the classes, or the labels; of a regression none. mean, std: of the training split.
    """

    column: str
    task: Task
    names: tuple[str, ...] = ()
    separator: str = ";"
    mean: float = 0.0
    std: float = 1.0

    def facts(self) -> dict[str, Any]:
        """Returns what identifies the target, as JSON values."""
        facts: dict[str, Any] = {"column": self.column, "task": self.task}
        if self.task == "regression":
            return facts | {"mean": self.mean, "std": self.std}
        return facts | {"names": list(self.names)}


class Targets(NamedTuple):
    """The targets of rows: Float[row], Int[row] of classes, or Int[row, label] in 0 and 1."""

    values: np.ndarray
    wrong: dict[int, str]  # by row, why it has none


def infer_task(column: "pyarrow.ChunkedArray", separator: str) -> Task:
    """Infers the task from the values of a target.

    Lists are several labels, and so are texts if dividing them at the separator leaves fewer
    different texts. Other texts and bools are classes, as are whole numbers, if at most 20
    different ones have 5 rows each on average. All other numbers are regressed on.
    """
    import pyarrow as pa

    if pa.types.is_list(column.type):
        return "multilabel"
    numbers = numbers_in(column)
    if pa.types.is_boolean(column.type) or numbers.wrong.sum() > 0.1 * len(column):
        return "multilabel" if _is_listed(column, separator) else "classification"
    known = numbers.values[~np.isnan(numbers.values)]
    distinct = len(np.unique(known))
    few = distinct <= min(_MOST_CLASSES, len(known) / _ROWS_OF_CLASS)
    return "classification" if few and not (known % 1).any() else "regression"


def _is_listed(column: "pyarrow.ChunkedArray", separator: str) -> bool:
    values = {value for value in column.to_pylist() if isinstance(value, str)}
    if not any(separator in value for value in values):
        return False
    parts = {part.strip() for value in values for part in value.split(separator)}
    return len(parts) < len(values)


def find_target(
    name: str, column: "pyarrow.ChunkedArray", task: Task | Literal["auto"], separator: str
) -> Target:
    """Finds task and names of a target.

    Raises:
      InputError: fewer than two classes, or no label.
    """
    task = infer_task(column, separator) if task == "auto" else task
    if task == "regression":
        return Target(name, task)
    if task == "classification":
        names = _in_order({value for value in categories_in(column) if value is not None})
    else:
        lists = lists_in(column, separator)
        names = _in_order({label for labels in lists if labels is not None for label in labels})
    least = 2 if task == "classification" else 1
    if len(names) < least:
        raise InputError(
            f"target = {name}; it has {len(names)} different values, {task} needs at least {least}:"
            " name another column"
        )
    return Target(name, task, tuple(names), separator)


def encode_target(target: Target, column: "pyarrow.ChunkedArray") -> Targets:
    """Reads the targets of rows, of a regression in its own unit."""
    if target.task == "regression":
        values, bad = numbers_in(column)
        wrong = {row: _none(target) for row in np.flatnonzero(np.isnan(values)).tolist()}
        for row in np.flatnonzero(bad).tolist():
            wrong[row] = not_of(target.column, "number", column[row].as_py())
        return Targets(values, wrong)
    codes = {name: code for code, name in enumerate(target.names)}
    if target.task == "classification":
        return _classes(target, codes, categories_in(column))
    return _labels(target, codes, lists_in(column, target.separator))


def _classes(target: Target, codes: dict[str, int], values: Sequence[str | None]) -> Targets:
    wrong = {}
    for row, value in enumerate(values):
        if value is None:
            wrong[row] = _none(target)
        elif value not in codes:
            wrong[row] = f"has {target.column} = {value[:40]!r}, which training lacks"
    found = [codes.get(value, 0) if value is not None else 0 for value in values]
    return Targets(np.array(found, np.int32), wrong)


def _labels(target: Target, codes: dict[str, int], values: Sequence[list[str] | None]) -> Targets:
    labels, wrong = np.zeros((len(values), len(codes)), np.int32), {}
    for row, names in enumerate(values):
        if names is None:
            wrong[row] = _none(target)
            continue
        strange = [name for name in names if name not in codes]
        if strange:
            wrong[row] = f"has the label {strange[0][:40]!r}, which training lacks"
        labels[row, [codes[name] for name in names if name in codes]] = 1
    return Targets(labels, wrong)


def with_statistics(target: Target, values: np.ndarray) -> Target:
    """Adds the statistics of the training split to the target of a regression."""
    if target.task != "regression":
        return target
    # A constant target keeps its scale.
    return target._replace(mean=nine_digits(values.mean()), std=nine_digits(values.std()) or 1.0)


def scaled(target: Target, values: np.ndarray) -> np.ndarray:
    """Scales the targets of a regression by the statistics of the training split."""
    if target.task != "regression":
        return values
    return ((values - target.mean) / target.std).astype(np.float32)


def _none(target: Target) -> str:
    return f"has no {target.column}"


def _in_order(names: set[str]) -> list[str]:
    """Sorts numbers by their values, and other names as texts."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)
