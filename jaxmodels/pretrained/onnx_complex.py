"""Complex numbers as pairs of real ones, and Fourier transforms as products with cosines and sines,
which every runtime of ONNX has.

A complex array has one more axis, the last one, of its real and imaginary parts.
"""

from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_graph import Graph, Operator, Value
from jaxmodels.pretrained.onnx_shapes import expanded, integers, reshaped, shape_of

# What stands for no size, so that nothing is divided by 0.
_TINY = np.array(1e-37, np.float32)


def _transform(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """A transform of real numbers, or the inverse of it, over the last axis."""
    kind, lengths = equation.params["fft_type"].name, equation.params["fft_lengths"]
    if kind not in ("RFFT", "IRFFT") or len(lengths) != 1:
        raise InputError(
            f"format = onnx; the model has the operation 'fft' of the kind {kind}, which the"
            " conversion does not know: export it as --format stablehlo"
        )
    shape, size = shape_of(equation.invars[0]), lengths[0]
    half = size // 2 + 1
    if kind == "RFFT":
        matrix = np.fft.rfft(np.eye(size)).view(np.float64)
        product = graph.add("MatMul", given[0], matrix.astype(np.float32))
        return reshaped(graph, product, (*shape[:-1], half, 2))
    pairs = np.stack([np.eye(half), 1j * np.eye(half)], axis=1).reshape(2 * half, half)
    matrix = np.fft.irfft(pairs, size)
    flat = reshaped(graph, given[0], (*shape[:-1], 2 * half))
    return graph.add("MatMul", flat, matrix.astype(np.float32))


def _parts(graph: Graph, value: Value) -> tuple[Value, Value]:
    """Returns the real and the imaginary parts."""
    if isinstance(value, np.ndarray):
        return value.real, value.imag
    real, imaginary = (
        graph.add("Gather", value, np.array(number, np.int64), axis=-1) for number in (0, 1)
    )
    return real, imaginary


def _pair(graph: Graph, *parts: Value) -> Value:
    thick = [graph.add("Unsqueeze", part, integers(-1)) for part in parts]
    return graph.add("Concat", *thick, axis=-1)


def _complex(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return _pair(graph, *given)


def _real(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return _parts(graph, given[0])[0]


def _imaginary(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return _parts(graph, given[0])[1]


def _widened(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """Real numbers as complex ones."""
    if np.issubdtype(equation.invars[0].aval.dtype, np.complexfloating):
        return given[0]
    last = integers(-1)
    real = graph.add("Unsqueeze", given[0], last)
    return graph.add("Pad", real, integers(0, 1), np.array(0, np.float32), last)


def _broadcast(graph: Graph, equation: Any, given: list[Value]) -> Value:
    own, shape = ((*shape_of(atom), 2) for atom in (equation.invars[0], equation.outvars[0]))
    axes = (*equation.params["broadcast_dimensions"], len(shape) - 1)
    return expanded(graph, given[0], own, axes, shape)


def _product(graph: Graph, equation: Any, given: list[Value]) -> Value:
    (a, b), (c, d) = (_parts(graph, value) for value in given)
    real = graph.add("Sub", graph.add("Mul", a, c), graph.add("Mul", b, d))
    imaginary = graph.add("Add", graph.add("Mul", a, d), graph.add("Mul", b, c))
    return _pair(graph, real, imaginary)


def _quotient(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """A quotient whose divisor is brought to a size of about 1: squares of small ones are 0."""
    (a, b), below = (_parts(graph, value) for value in given)
    size = graph.add("Max", *(graph.add("Abs", part) for part in below))
    c, d = (graph.add("Div", part, size) for part in below)
    square = graph.add("Add", graph.add("Mul", c, c), graph.add("Mul", d, d))
    real = graph.add("Add", graph.add("Mul", a, c), graph.add("Mul", b, d))
    imaginary = graph.add("Sub", graph.add("Mul", b, c), graph.add("Mul", a, d))
    divided = (graph.add("Div", graph.add("Div", x, square), size) for x in (real, imaginary))
    return _pair(graph, *divided)


def _magnitude(graph: Graph, equation: Any, given: list[Value]) -> Value:
    parts = _parts(graph, given[0])
    sizes = [graph.add("Abs", part) for part in parts]
    size = graph.add("Max", *sizes, _TINY)
    squares = [graph.add("Pow", graph.add("Div", x, size), np.array(2, np.float32)) for x in sizes]
    return graph.add("Mul", graph.add("Sqrt", graph.add("Add", *squares)), size)


COMPLEX: dict[str, Operator] = {
    "complex": _complex,
    "fft": _transform,
    "imag": _imaginary,
    "real": _real,
}
# What may be applied to pairs as it is to real numbers; other operations would mistake their last
# axis.
SAME_OF_PAIRS = (
    *COMPLEX,
    *("add", "sub", "neg", "slice", "concatenate", "copy", "pad"),
    *("cond", "scan", "while"),
)
OF_PAIRS: dict[str, Operator] = {
    "abs": _magnitude,
    "broadcast_in_dim": _broadcast,
    "convert_element_type": _widened,
    "div": _quotient,
    "mul": _product,
}
