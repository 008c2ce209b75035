"""Shapes and types of a jaxpr's arrays, as ONNX writes them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxmodels.pretrained.onnx_graph import Graph, Value


def shape_of(atom: Any) -> tuple[int, ...]:
    """Returns the shape of an input or output of an operation."""
    return tuple(atom.aval.shape)


def dtype_of(atom: Any) -> np.dtype:
    """Returns the type of an input or output of an operation."""
    return np.dtype(atom.aval.dtype)


def code_of(dtype: Any) -> int:
    """Returns ONNX's number of a type; of complex numbers, which are pairs, that of their parts."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.zeros((), dtype).real.dtype)


def integers(*numbers: int) -> np.ndarray:
    """Makes a tensor of axes, sizes or bounds."""
    return np.array(numbers, np.int64)


def reshaped(graph: Graph, value: Value, shape: tuple[int, ...]) -> Value:
    """Gives a value another shape of as many numbers."""
    varying = [graph.is_varying((size,)) for size in shape]
    if sum(varying) == 1 and 0 not in shape:
        target: Value = integers(*(-1 if v else s for s, v in zip(shape, varying, strict=True)))
    else:
        target = graph.shape(shape)
    return graph.add("Reshape", value, target)


def expanded(
    graph: Graph,
    value: Value,
    own: tuple[int, ...],
    axes: Sequence[int],
    shape: tuple[int, ...],
) -> Value:
    """Repeats a value of the shape `own`, whose axes are these of `shape`, along all others."""
    thin = [1] * len(shape)
    for axis, size in zip(axes, own, strict=True):
        thin[axis] = size
    if tuple(thin) != own:
        value = reshaped(graph, value, tuple(thin))
    return value if tuple(thin) == shape else graph.add("Expand", value, graph.shape(shape))


def transposed(graph: Graph, value: Value, axes: Iterable[Any]) -> Value:
    """Puts the axes of a value in another order."""
    order = [int(axis) for axis in axes]  # jax has some of them as numbers of numpy
    return value if order == sorted(order) else graph.add("Transpose", value, perm=order)


def size_of(graph: Graph, size: int, less: int = 0) -> Value:
    """Makes the size of an axis, less a number, as an int64 without axes."""
    if not graph.is_varying((size,)):
        return np.array(size - less, np.int64)
    found = graph.add("Squeeze", graph.shape((size,)), integers(0))
    return graph.add("Sub", found, np.array(less, np.int64)) if less else found


def numbered(graph: Graph, size: int) -> Value:
    """Makes 0, 1, ..., size - 1, int64."""
    if not graph.is_varying((size,)):
        return np.arange(size)
    return graph.add("Range", np.array(0, np.int64), size_of(graph, size), np.array(1, np.int64))


def clamped(graph: Graph, value: Value, low: Value, high: Value) -> Value:
    """Brings numbers between two others."""
    return graph.add("Min", graph.add("Max", value, low), high)
