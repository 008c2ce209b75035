"""The product of one row with a kernel, which is what writing a text asks for at each token."""

import os
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from jaxmodels.ops.portable import target_backend

_LEAST = 100_000  # numbers of a kernel that is worth dividing
_MOST_PARTS = 8


def one_row_dot_general(
    x: Inexact[Array, "*rows inputs"],
    kernel: Inexact[Array, "inputs outputs"],
    dimension_numbers: Any,
    precision: lax.PrecisionLike = None,
) -> Inexact[Array, "*rows outputs"]:
    """Computes `lax.dot_general` of rows and a kernel, for the field of that name of a linear
    layer.

    XLA's CPU backend multiplies one row by a kernel in one thread, which does not read memory as
    fast as all do. So the inputs of one row are divided into a part per core, and the products of
    the parts are added.
    """
    inputs, outputs = kernel.shape
    parts = _parts(inputs)
    is_small = kernel.size < _LEAST or x.size != inputs
    if is_small or parts == 1 or target_backend() != "cpu":
        return lax.dot_general(x, kernel, dimension_numbers, precision=precision)
    divided = kernel.reshape(parts, -1, outputs)
    rows = x.reshape(parts, 1, -1)
    products = jnp.einsum("pri,pio->pro", rows, divided, precision=precision)
    return jnp.sum(products, axis=0).reshape(*x.shape[:-1], outputs)


def _parts(inputs: int) -> int:
    """Gives the largest power of two that divides the inputs and is not above the cores."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    parts = 1
    while 2 * parts <= min(cores, _MOST_PARTS) and inputs % (2 * parts) == 0:
        parts *= 2
    return parts
