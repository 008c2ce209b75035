"""The cheapest assignment of rows to columns, on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class _Search(NamedTuple):
    """The search for the cheapest path from one row to a free column.

    row: whose columns are looked at next. end: the free column that was found; -1: none yet.
    distance: cost of the cheapest path to the column that was reached last.
    shortest: of the cheapest known path to each column. before: the row before each on that path.
    rows, columns: what the path to it is known of.
    """

    row: Int[Array, ""]
    end: Int[Array, ""]
    distance: Float[Array, ""]
    shortest: Float[Array, " columns"]
    before: Int[Array, " columns"]
    rows: Bool[Array, " rows"]
    columns: Bool[Array, " columns"]


class _Matched(NamedTuple):
    """Dual variables of rows and columns, and what is assigned to each; -1: nothing."""

    of_rows: Float[Array, " rows"]
    of_columns: Float[Array, " columns"]
    column: Int[Array, " rows"]
    row: Int[Array, " columns"]


def assign(
    cost: Float[Array, "rows columns"], exist: Bool[Array, " rows"] | None = None
) -> Int[Array, " rows"]:
    """Assigns each row a column of its own such that the sum of their costs is least; returns the
    columns.

    The Hungarian method by shortest augmenting paths (Jonker & Volgenant 1987; Crouse 2016, whom
    scipy's `linear_sum_assignment` follows). The search ends whatever the costs are: NaN counts as
    0, and what is infinite as very large.

    exist: false for rows that are padding; they get -1.

    Raises:
      ValueError: more rows than columns.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows and {columns} columns; expected no more rows than columns")
    there = jnp.ones(rows, bool) if exist is None else exist
    # Sums along a path stay finite; otherwise no column would ever be the nearest.
    most = float(jnp.finfo(cost.dtype).max) / (8 * columns)
    cost = jnp.where(there[:, None] & ~jnp.isnan(cost), jnp.clip(cost, -most, most), 0)
    # What is subtracted from all costs of a row changes no assignment, and keeps sums small.
    cost -= jnp.min(cost, axis=1, keepdims=True)
    nothing = (jnp.full(rows, -1, jnp.int32), jnp.full(columns, -1, jnp.int32))
    start = _Matched(jnp.zeros(rows, cost.dtype), jnp.zeros(columns, cost.dtype), *nothing)

    def add(row, matched):
        return jax.lax.cond(there[row], lambda: _added(cost, row, matched), lambda: matched)

    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(rows), add, start).column


def _added(cost: Array, first: Array, matched: _Matched) -> _Matched:
    """Assigns one more row, along the cheapest path that alternates between rows and columns."""
    rows, columns = cost.shape
    start = _Search(
        row=first,
        end=jnp.int32(-1),
        distance=jnp.zeros((), cost.dtype),
        shortest=jnp.full(columns, jnp.inf, cost.dtype),
        before=jnp.full(columns, -1, jnp.int32),
        rows=jnp.zeros(rows, bool),
        columns=jnp.zeros(columns, bool),
    )

    def look(search: _Search) -> _Search:
        reduced = cost[search.row] - matched.of_rows[search.row] - matched.of_columns
        length = search.distance + reduced
        better = ~search.columns & (length < search.shortest)
        shortest = jnp.where(better, length, search.shortest)
        before = jnp.where(better, search.row, search.before)
        column = jnp.argmin(jnp.where(search.columns, jnp.inf, shortest)).astype(jnp.int32)
        owner = matched.row[column]
        return _Search(
            row=jnp.where(owner < 0, search.row, owner),
            end=jnp.where(owner < 0, column, -1),
            distance=shortest[column],
            shortest=shortest,
            before=before,
            rows=search.rows.at[search.row].set(True),
            columns=search.columns.at[column].set(True),
        )

    found = jax.lax.while_loop(lambda search: search.end < 0, look, start)
    own = found.shortest[matched.column]
    others = found.rows & (jnp.arange(rows) != first)
    of_rows = matched.of_rows + jnp.where(others, found.distance - own, 0)
    of_rows = of_rows.at[first].add(found.distance)
    of_columns = matched.of_columns - jnp.where(found.columns, found.distance - found.shortest, 0)
    column, row = _along(found, first, matched)
    return _Matched(of_rows, of_columns, column, row)


def _along(found: _Search, first: Array, matched: _Matched) -> tuple[Array, Array]:
    """Gives each row on the path the column after it."""

    def swap(carried):
        at, column, row, _ = carried
        owner = found.before[at]
        following = column[owner]
        return following, column.at[owner].set(at), row.at[at].set(owner), owner == first

    start = (found.end, matched.column, matched.row, jnp.asarray(False))
    _, column, row, _ = jax.lax.while_loop(lambda carried: ~carried[3], swap, start)
    return column, row
