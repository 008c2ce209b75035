"""Gradients of one global batch, taken whole or accumulated over parts of it.

A loss returns a total and the count that divides it. Both are summed over the parts of a batch and
over devices, and the gradient is divided once, by the global count. So parts with different counts,
such as padded sequences, together give the gradient of the whole batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.ops.rematerialize import rematerialized_whole
from jaxmodels.protocol import Batch, Mean, Metrics, PyTree


class Differentiated(NamedTuple):
    """The gradient of the total loss of one part of a batch, and the other results."""

    gradients: PyTree  # of the total
    count: Int[Array, ""] | Float[Array, ""]
    carried: PyTree  # updated without a gradient, such as batch statistics
    metrics: Metrics


# (params, carried, batch, key) -> (loss as total and count, carried, metrics)
Loss = Callable[[PyTree, PyTree, Batch, Key[Array, ""]], tuple[Mean, PyTree, Metrics]]
Differentiate = Callable[[PyTree, PyTree, Batch, Key[Array, ""]], Differentiated]


def gradients_of(
    loss: Loss,
    params: PyTree,
    carried: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    parts: int = 1,
    least: float = 0.0,
) -> tuple[PyTree, PyTree, Metrics]:
    """Computes the gradient of the mean loss in the parameters, the new `carried`, and the summed
    metrics.

    carried: values that the loss updates without a gradient, such as batch statistics; or {}.
    parts, least: see `accumulate_gradients`.
    """
    if parts > 1:
        return accumulate_gradients(differentiate(loss), params, carried, batch, key, parts, least)

    total = _total_of(loss, carried, batch, key)
    value, pull_back, others = jax.vjp(total, params, has_aux=True)
    count, carried, metrics = others
    # Divides where the backward pass starts. Dividing the gradients would need an operation per
    # parameter, which XLA fuses with those of the optimizer and then rounds differently.
    (gradients,) = pull_back(1 / _divisor(across.total(count), least).astype(value.dtype))
    return across.total(gradients), carried, metrics


def _total_of(loss: Loss, carried: PyTree, batch: Batch, key: Key[Array, ""]) -> Callable:
    """Makes the function of the parameters whose first output is differentiated."""
    loss = rematerialized_whole(loss)

    def total(params):
        mean, after, metrics = loss(params, carried, batch, key)
        return mean.total, (mean.count, after, metrics)

    return total


def _divisor(count: Int[Array, ""] | Float[Array, ""], least: float) -> Float[Array, ""]:
    """Returns the count to divide by, which is at least `least`; 1 if that and the count are 0, so
    that the gradient is zero."""
    count = jnp.maximum(count, least) if least else count
    if jnp.issubdtype(count.dtype, jnp.floating):  # a sum of weights, which may be below 1
        return jnp.where(count > 0, count, 1).astype(jnp.float32)
    return jnp.maximum(count, 1).astype(jnp.float32)


def differentiate(loss: Loss) -> Differentiate:
    """Makes the function that computes the gradient of a loss's total."""

    def of_part(params, carried, batch, key):
        total = _total_of(loss, carried, batch, key)
        gradients, others = jax.grad(total, has_aux=True)(params)
        return Differentiated(gradients, *others)

    return of_part


def accumulate_gradients(
    differentiate: Differentiate,
    params: PyTree,
    carried: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    parts: int = 1,
    least: float = 0.0,
) -> tuple[PyTree, PyTree, Metrics]:
    """Computes the gradients of a global batch, the new `carried`, and the summed metrics.

    The gradients and counts that `differentiate` gives are summed over parts and devices; the
    result is the ratio of the sums, or zero where nothing counts. Metrics are summed over parts
    only: the engine adds those of the devices.

    parts: the number of parts of the batch (see `split_batch`), which are computed one after
      another in the memory of one. The key of a part is folded from its index.
    least: by what is divided where the global count is less, as that of positives may be which each
      count for less than one.
    """
    if parts == 1:
        sums = differentiate(params, carried, batch, key)
    else:
        sums = _sum_over_parts(differentiate, params, carried, batch, key, parts)
    gradients, count = across.total((sums.gradients, sums.count))
    divisor = _divisor(count, least)
    gradients = jax.tree.map(lambda gradient: gradient / divisor.astype(gradient.dtype), gradients)
    return gradients, sums.carried, sums.metrics


def _sum_over_parts(differentiate, params, carried, batch, key, parts: int) -> Differentiated:
    split = split_batch(batch, parts)
    first = jax.tree.map(lambda column: column[0], split)
    like = jax.eval_shape(differentiate, params, carried, first, key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

    def add_part(sums, index_and_part):
        index, part = index_and_part
        new = differentiate(params, sums.carried, part, jax.random.fold_in(key, index))
        both = [(one.gradients, one.count, one.metrics) for one in (sums, new)]
        gradients, count, metrics = jax.tree.map(jnp.add, *both)
        return Differentiated(gradients, count, new.carried, metrics), None

    start = zeros._replace(carried=carried)
    return jax.lax.scan(add_part, start, (jnp.arange(parts), split))[0]


def losses_in_parts(
    losses: Callable[[PyTree, PyTree, Batch, Key[Array, ""]], tuple[Float[Array, " part"], PyTree]],
    params: PyTree,
    carried: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    parts: int = 1,
) -> Float[Array, " batch"]:
    """Computes the loss of each example, in the parts and with the keys of `gradients_of`.

    losses: (params, carried, batch, key) -> (loss of each example, carried).
    """
    if parts == 1:
        return losses(params, carried, batch, key)[0]

    def of_part(carried, index_and_part):
        index, part = index_and_part
        values, carried = losses(params, carried, part, jax.random.fold_in(key, index))
        return carried, values

    split = split_batch(batch, parts)
    values = jax.lax.scan(of_part, carried, (jnp.arange(parts), split))[1]
    return values.swapaxes(0, 1).reshape(-1)


def split_batch(batch: Batch, parts: int) -> Batch:
    """Divides a batch into parts, which become the first axis.

    Part i holds the examples i, parts + i, 2 * parts + i, ..., so that a device that holds
    neighbouring examples has its share of every part.

    Raises:
      InputError: a number of parts that does not divide the examples.
    """

    def split(column):
        if len(column) % parts:
            raise InputError(
                f"a batch of {len(column)} examples in {parts} parts; expected a multiple of"
                f" {parts}, as {max(len(column) // parts, 1) * parts}"
            )
        return column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, batch)
