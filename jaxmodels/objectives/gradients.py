"""Gradients of one global batch, whole or accumulated over parts of it.

A loss gives a total and the count that it is to be divided by. Both add over the parts of a batch
and over devices, and the gradient is divided once, by the global count: so parts that weigh
differently, as padded sequences or pictures with many boxes do, give the gradient of the whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from jaxmodels import across
from jaxmodels.protocol import Batch, Mean, Metrics, PyTree


class Differentiated(NamedTuple):
    """What one part of a batch gives."""

    gradients: PyTree  # of the total
    count: Int[Array, ""]
    carried: PyTree  # what the loss carried on, as batch statistics
    metrics: Metrics


# (params, carried, batch, key) -> (loss as total and count, carried, metrics)
Loss = Callable[[PyTree, PyTree, Batch, Key[Array, ""]], tuple[Mean, PyTree, Metrics]]
Differentiate = Callable[[PyTree, PyTree, Batch, Key[Array, ""]], Differentiated]


def gradients_of(
    loss: Loss, params: PyTree, carried: PyTree, batch: Batch, key: Key[Array, ""], parts: int = 1
) -> tuple[PyTree, PyTree, Metrics]:
    """The gradient of the mean loss, what the loss carried on, and summed metrics.

    parts: see `accumulate_gradients`.
    """
    return accumulate_gradients(differentiate(loss), params, carried, batch, key, parts)


def differentiate(loss: Loss) -> Differentiate:
    """The gradient of the total of a loss in its parameters."""

    def of_part(params, carried, batch, key):
        def total(params):
            mean, after, metrics = loss(params, carried, batch, key)
            return mean.total, (mean.count, after, metrics)

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
) -> tuple[PyTree, PyTree, Metrics]:
    """The sum over a batch's parts and all devices of the gradients that `differentiate` gives,
    divided by that of the counts; what it carried on; and its summed metrics.

    With `parts` > 1 the batch is taken in that many parts one after another (see `split_batch`),
    which costs the memory of one part; noise is keyed by the part and the position in it.
    """
    if parts == 1:
        found = differentiate(params, carried, batch, key)
    else:
        found = _accumulated(differentiate, params, carried, batch, key, parts)
    gradients, count = across.total((found.gradients, found.count))
    # A batch in which nothing counts has no gradient.
    count = jnp.maximum(count, 1).astype(jnp.float32)
    gradients = jax.tree.map(lambda gradient: gradient / count.astype(gradient.dtype), gradients)
    return gradients, found.carried, found.metrics


def _accumulated(differentiate, params, carried, batch, key, parts: int) -> Differentiated:
    split = split_batch(batch, parts)
    first = jax.tree.map(lambda column: column[0], split)
    like = jax.eval_shape(differentiate, params, carried, first, key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

    def part(so_far, index_and_batch):
        index, batch = index_and_batch
        new = differentiate(params, so_far.carried, batch, jax.random.fold_in(key, index))
        adding = [(one.gradients, one.count, one.metrics) for one in (so_far, new)]
        gradients, count, metrics = jax.tree.map(jnp.add, *adding)
        return Differentiated(gradients, count, new.carried, metrics), None

    start = zeros._replace(carried=carried)
    return jax.lax.scan(part, start, (jnp.arange(parts), split))[0]


def split_batch(batch: Batch, parts: int) -> Batch:
    """The batch in parts, which lead: part i holds the examples i, parts + i, 2 * parts + i, ...,
    so that each device has its share of every part."""
    return jax.tree.map(
        lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch
    )
