"""The assignment costs what scipy's does, with padding, ties and equal numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jaxmodels.ops.assignment import assign

ROWS, COLUMNS = 12, 17
assign_all = jax.jit(jax.vmap(assign))


def cost_of(cost, columns):
    return sum(cost[row, column] for row, column in enumerate(columns))


@pytest.mark.parametrize("kind", ["normal", "ties", "far"])
def test_costs_are_scipys(kind):
    generator = np.random.default_rng(0)
    costs = generator.normal(size=(20, ROWS, COLUMNS)).astype(np.float32)
    if kind == "ties":
        costs = np.round(costs)
    if kind == "far":
        costs = 1e4 + 1e3 * costs
    exist = np.arange(ROWS) < generator.integers(0, ROWS + 1, (20, 1))
    found = np.asarray(assign_all(jnp.array(costs), jnp.array(exist)))
    for cost, there, columns in zip(costs, exist, found, strict=True):
        assert (columns[~there] == -1).all()
        count = there.sum()
        assert len(set(columns[:count])) == count
        best = cost[:count][linear_sum_assignment(cost[:count])].sum()
        assert cost_of(cost, columns[:count]) == pytest.approx(best, rel=1e-5, abs=1e-4)


def test_as_many_rows_as_columns_and_rows_in_between_that_are_none(float64):
    generator = np.random.default_rng(1)
    cost = generator.normal(size=(9, 9))
    columns = linear_sum_assignment(cost)[1]
    np.testing.assert_array_equal(assign(jnp.array(cost)), columns)
    exist = np.arange(9) % 3 != 1
    found = np.asarray(assign(jnp.array(cost), jnp.array(exist)))
    np.testing.assert_array_equal(found[exist], linear_sum_assignment(cost[exist])[1])
    assert (found[~exist] == -1).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3e38])
def test_the_search_ends_whatever_the_costs_are(wrong):
    cost = np.full((1, ROWS, COLUMNS), wrong, np.float32)
    for some in (cost, np.where(np.arange(COLUMNS) % 2, cost, np.float32(1))):
        columns = np.asarray(assign_all(jnp.array(some), jnp.ones((1, ROWS), bool)))[0]
        assert len(set(columns)) == ROWS and columns.min() >= 0


def test_a_pair_of_infinite_cost_is_left_alone_where_it_can_be():
    cost = np.full((2, 3), np.inf, np.float32)
    cost[0, 2], cost[1, 0] = 5, 7
    np.testing.assert_array_equal(assign(jnp.array(cost)), [2, 0])


def test_more_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="expected no more rows"):
        assign(jnp.zeros((3, 2)))
