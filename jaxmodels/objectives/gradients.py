"""Gradients of one global batch, whole or accumulated over parts of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.protocol import Batch, Metrics, PyTree, average_across_devices

# (params, carried, batch, key) -> (mean loss over the batch, (carried, metrics))
Loss = Callable[
    [PyTree, PyTree, Batch, Key[Array, ""]], tuple[Float[Array, ""], tuple[PyTree, Metrics]]
]
# (params, carried, batch, key) -> (gradients of the batch, (carried, metrics))
Differentiate = Callable[
    [PyTree, PyTree, Batch, Key[Array, ""]], tuple[PyTree, tuple[PyTree, Metrics]]
]


def gradients_of(
    loss: Loss, params: PyTree, carried: PyTree, batch: Batch, key: Key[Array, ""], parts: int = 1
) -> tuple[PyTree, PyTree, Metrics]:
    """The gradient of the mean loss, what the loss carried on (batch statistics), summed metrics.

    parts: see `accumulate_gradients`.
    """
    differentiate = jax.grad(loss, has_aux=True)
    return accumulate_gradients(differentiate, params, carried, batch, key, parts)


def accumulate_gradients(
    differentiate: Differentiate,
    params: PyTree,
    carried: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    parts: int = 1,
) -> tuple[PyTree, PyTree, Metrics]:
    """The mean over a batch's parts of what `differentiate` gives, what it carried on, its metrics.

    With `parts` > 1 the batch is taken in that many parts one after another (see `split_batch`),
    which costs the memory of one part; noise is keyed by the part and the position in it.
    """
    if parts == 1:
        gradients, (carried, metrics) = differentiate(params, carried, batch, key)
        return average_across_devices(gradients), carried, metrics

    def part(so_far, index_and_batch):
        gradients, carried, metrics = so_far
        index, batch = index_and_batch
        new, (carried, more) = differentiate(params, carried, batch, jax.random.fold_in(key, index))
        added = jax.tree.map(jnp.add, (gradients, metrics), (new, more))
        return (added[0], carried, added[1]), None

    split = split_batch(batch, parts)
    first = jax.tree.map(lambda column: column[0], split)
    gradients, (_, metrics) = jax.eval_shape(differentiate, params, carried, first, key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (gradients, metrics))
    (gradients, carried, metrics), _ = jax.lax.scan(
        part, (zeros[0], carried, zeros[1]), (jnp.arange(parts), split)
    )
    gradients = jax.tree.map(lambda gradient: gradient / parts, gradients)
    return average_across_devices(gradients), carried, metrics


def split_batch(batch: Batch, parts: int) -> Batch:
    """The batch in parts, which lead: part i holds the examples i, parts + i, 2 * parts + i, ...,
    so that each device has its share of every part."""
    return jax.tree.map(
        lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch
    )
