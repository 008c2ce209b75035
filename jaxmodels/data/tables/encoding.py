"""The columns of a table as numbers for a network, by the statistics of a training split."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.data.dataset import Columns
from jaxmodels.data.tables.inference import Kind
from jaxmodels.data.tables.values import categories_in, days_in, numbers_in
from jaxmodels.errors import InputError

if TYPE_CHECKING:
    import pyarrow

NUMBERS, CODES = "numbers", "codes"  # columns of an encoded table
_MOST = 1e18  # deviations from the mean, whose square a network's 32 bits can hold
# Of a column with more categories, the commonest are told apart.
MOST_CATEGORIES = 256


class NumberColumn(NamedTuple):
    """Numbers, or days, and their statistics in the training split without missing values."""

    kind: Kind
    missing: int  # in the training split
    median: float  # takes the place of what is missing
    mean: float
    std: float

    def encode(
        self, values: Float[np.ndarray, " row"]
    ) -> list[Float[np.ndarray, " row"] | Bool[np.ndarray, " row"]]:
        """Returns (value - mean) / std and, if values were missing in training, where they are."""
        absent = np.isnan(values)
        scaled = (np.where(absent, self.median, values) - self.mean) / self.std
        return [scaled, absent] if self.missing else [scaled]


class CategoryColumn(NamedTuple):
    """Categories of the training split. An unknown one is encoded as zeros, as none of them."""

    kind: Kind
    missing: int  # in the training split; if there were any, they are a category of their own
    values: tuple[str, ...]
    rare: int = 0  # how many more there were, which are treated as unknown

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.values) + (self.missing > 0)

    def encode(self, values: Sequence[str | None]) -> Int[np.ndarray, " row"]:
        """Returns the code of each value; -1 for one that is unknown."""
        codes: dict[str | None, int] = {value: code for code, value in enumerate(self.values)}
        if self.missing:
            codes[None] = len(self.values)
        return np.array([codes.get(value, -1) for value in values], np.int32)


class Encoded(NamedTuple):
    """The encoded rows of a table, and what of them cannot be used as it is."""

    columns: Columns
    wrong: dict[int, str]  # by row, what cannot be read
    unknown: dict[str, Counter[str]]  # by column, values that training did not have


class Encoder(NamedTuple):
    """The columns that a network sees, by name. A mapping keeps their order."""

    columns: Mapping[str, NumberColumn | CategoryColumn]

    @property
    def numbers(self) -> dict[str, NumberColumn]:
        """The columns of numbers and days."""
        return {n: c for n, c in self.columns.items() if isinstance(c, NumberColumn)}

    @property
    def categories(self) -> dict[str, CategoryColumn]:
        """The columns of categories."""
        return {n: c for n, c in self.columns.items() if isinstance(c, CategoryColumn)}

    def encode(self, table: "pyarrow.Table") -> Encoded:
        """Encodes rows: "numbers", [row, number], and "codes", [row, column], where there are some.

        Raises:
          InputError: the table lacks a column.
        """
        lacking = [name for name in self.columns if name not in table.column_names]
        if lacking:
            raise InputError(
                f"the table has no column {', '.join(map(repr, lacking[:5]))}; expected"
                f" {', '.join(self.columns)}, as in training"
            )
        wrong, unknown, scaled, codes = {}, {}, [], []
        for name, column in self.numbers.items():
            values, bad = read_numbers(table[name], column.kind)
            for row in np.flatnonzero(bad).tolist():
                wrong.setdefault(row, not_of(name, column.kind, table[name][row].as_py()))
            encoded = column.encode(values)
            for row in np.flatnonzero(np.abs(encoded[0]) > _MOST).tolist():
                wrong.setdefault(row, not_of(name, column.kind, table[name][row].as_py()))
            scaled += encoded
        for name, column in self.categories.items():
            values = categories_in(table[name])
            codes.append(column.encode(values))
            strange = Counter(v for v, c in zip(values, codes[-1]) if c < 0 and v is not None)
            if strange:
                unknown[name] = strange
        columns: dict[str, np.ndarray] = {}
        if scaled:
            columns[NUMBERS] = np.stack(scaled, axis=1).astype(np.float32)
        if codes:
            columns[CODES] = np.stack(codes, axis=1)
        return Encoded(columns, wrong, unknown)

    def features(self, batch: Mapping[str, Array | np.ndarray]) -> Float[Array, "batch features"]:
        """Makes the input of a network of encoded rows, categories one-hot; traceable."""
        parts = [batch[NUMBERS]] if NUMBERS in batch else []
        for place, column in enumerate(self.categories.values()):
            parts.append(jax.nn.one_hot(batch[CODES][:, place], column.size))
        return jnp.concatenate(parts, axis=1)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Returns the kind and the statistics of each column, as JSON values."""
        return {name: _fact(column) for name, column in self.columns.items()}


def _fact(column: NumberColumn | CategoryColumn) -> dict[str, Any]:
    fact = dict(column._asdict())
    if isinstance(column, CategoryColumn):
        fact["values"] = list(column.values)
        if not column.rare:
            del fact["rare"]
    return fact


def encoder_of(facts: Mapping[str, Mapping[str, Any]]) -> Encoder:
    """Inverts `Encoder.facts`."""
    columns: dict[str, NumberColumn | CategoryColumn] = {}
    for name, fact in facts.items():
        if fact["kind"] == "category":
            columns[name] = CategoryColumn(**{**fact, "values": tuple(fact["values"])})
        else:
            columns[name] = NumberColumn(**fact)
    return Encoder(columns)


def fit_encoder(table: "pyarrow.Table", kinds: Mapping[str, Kind]) -> Encoder:
    """Makes the encoder of the rows of a training split.

    kinds: the columns to encode, and what they hold.
    """
    columns: dict[str, NumberColumn | CategoryColumn] = {}
    for name, kind in kinds.items():
        if kind == "category":
            columns[name] = _fit_categories(categories_in(table[name]))
        else:
            columns[name] = _fit_numbers(kind, read_numbers(table[name], kind)[0])
    return Encoder(columns)


def _fit_numbers(kind: Kind, values: Float[np.ndarray, " row"]) -> NumberColumn:
    known = values[~np.isnan(values)]
    missing = int(len(values) - len(known))
    if not len(known):
        return NumberColumn(kind, missing, 0.0, 0.0, 1.0)
    median, mean, std = (nine_digits(f(known)) for f in (np.median, np.mean, np.std))
    # A column that is constant in training keeps its scale.
    return NumberColumn(kind, missing, median, mean, std or 1.0)


def _fit_categories(values: Sequence[str | None]) -> CategoryColumn:
    counts = Counter(value for value in values if value is not None)
    order = sorted(counts, key=lambda value: (-counts[value], value))
    kept = tuple(sorted(order[:MOST_CATEGORIES]))
    missing = sum(value is None for value in values)
    return CategoryColumn("category", missing, kept, len(order) - len(kept))


def read_numbers(column: "pyarrow.ChunkedArray", kind: Kind):
    """Reads a column as numbers, or as days."""
    return days_in(column) if kind == "date" else numbers_in(column)


def not_of(name: str, kind: str, value: object) -> str:
    """Says that a value is not of the kind of its column."""
    wanted = {"date": "a date, as 2024-12-31", "number": "a number"}[kind]
    if kind == "number" and re.fullmatch(r"[-+.\deE]+", str(value)):
        wanted = "a number nearer to 0, which 32 bits can hold"
    return f"has {name} = {str(value)[:40]!r}; expected {wanted}"


def nine_digits(value: float | np.floating) -> float:
    """Rounds to as many digits as float32 has, so that every machine finds the same."""
    return float(f"{float(value):.9g}")
