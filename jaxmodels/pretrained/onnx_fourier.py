"""Fourier transforms as products with cosines and sines, which every runtime of ONNX has.

A complex array is one of pairs of real numbers: it has one more axis, the last one.
"""

from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_graph import Graph, Operator, Value
from jaxmodels.pretrained.onnx_shapes import integers, reshaped, shape_of

# What may be applied to complex arrays; other operations would mistake their last axis.
COMPLEX = ("real", "imag", "fft", "add", "sub", "neg", "slice", "concatenate", "copy", "pad")


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


def _part(number: int) -> Operator:
    def take(graph: Graph, equation: Any, given: list[Value]) -> Value:
        return graph.add("Gather", given[0], np.array(number, np.int64), axis=-1)

    return take


def _complex(graph: Graph, equation: Any, given: list[Value]) -> Value:
    pair = [graph.add("Unsqueeze", value, integers(-1)) for value in given]
    return graph.add("Concat", *pair, axis=-1)


FOURIER: dict[str, Operator] = {
    "complex": _complex,
    "fft": _transform,
    "imag": _part(1),
    "real": _part(0),
}
