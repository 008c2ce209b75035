"""Operations of a jaxpr as operators of ONNX."""

from string import ascii_letters
from typing import Any

import numpy as np
from jax import lax

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_complex import COMPLEX, OF_PAIRS, SAME_OF_PAIRS
from jaxmodels.pretrained.onnx_control import CONTROL
from jaxmodels.pretrained.onnx_graph import Graph, Operator, Value
from jaxmodels.pretrained.onnx_indexing import INDEXING
from jaxmodels.pretrained.onnx_shapes import (
    clamped,
    code_of,
    dtype_of,
    expanded,
    integers,
    numbered,
    reshaped,
    shape_of,
)


def _plain(operator: str) -> Operator:
    return lambda graph, equation, given: graph.add(operator, *given)


def _negated(operator: str) -> Operator:
    return lambda graph, equation, given: graph.add("Not", graph.add(operator, *given))


def _same(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    return given


def _reshape(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return reshaped(graph, given[0], shape_of(equation.outvars[0]))


def _broadcast(graph: Graph, equation: Any, given: list[Value]) -> Value:
    own, shape = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    return expanded(graph, given[0], own, equation.params["broadcast_dimensions"], shape)


def _transpose(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Transpose", given[0], perm=list(equation.params["permutation"]))


def _cast(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Cast", given[0], to=code_of(equation.params["new_dtype"]))


def _select(graph: Graph, equation: Any, given: list[Value]) -> Value:
    which, *cases = given
    if len(cases) != 2 or dtype_of(equation.invars[0]).kind != "b":
        raise InputError("format = onnx; the model selects among several: use --format stablehlo")
    return graph.add("Where", which, cases[1], cases[0])


def _clamp(graph: Graph, equation: Any, given: list[Value]) -> Value:
    low, value, high = given
    return clamped(graph, value, low, high)


def _power(graph: Graph, equation: Any, given: list[Value]) -> Value:
    exponent = np.array(equation.params["y"], dtype_of(equation.invars[0]))
    return graph.add("Pow", given[0], exponent)


def _square(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Mul", given[0], given[0])


def _reciprocal_root(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Reciprocal", graph.add("Sqrt", given[0]))


def _expm1(graph: Graph, equation: Any, given: list[Value]) -> Value:
    one = np.ones((), dtype_of(equation.invars[0]))
    return graph.add("Sub", graph.add("Exp", given[0]), one)


def _log1p(graph: Graph, equation: Any, given: list[Value]) -> Value:
    one = np.ones((), dtype_of(equation.invars[0]))
    return graph.add("Log", graph.add("Add", given[0], one))


def _complementary_error(graph: Graph, equation: Any, given: list[Value]) -> Value:
    one = np.ones((), dtype_of(equation.invars[0]))
    return graph.add("Sub", one, graph.add("Erf", given[0]))


def _is_finite(graph: Graph, equation: Any, given: list[Value]) -> Value:
    either = graph.add("Or", graph.add("IsInf", given[0]), graph.add("IsNaN", given[0]))
    return graph.add("Not", either)


def _remainder(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Mod", *given, fmod=1)  # with the sign of what is divided


def _bits(operator: str) -> Operator:
    def combine(graph: Graph, equation: Any, given: list[Value]) -> Value:
        is_logical = dtype_of(equation.invars[0]).kind == "b"
        return graph.add(operator if is_logical else f"Bitwise{operator}", *given)

    return combine


def _round(graph: Graph, equation: Any, given: list[Value]) -> Value:
    if equation.params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        raise InputError("format = onnx; ONNX rounds to the nearest even: use --format stablehlo")
    return graph.add("Round", given[0])


def _reduction(operator: str) -> Operator:
    def reduce(graph: Graph, equation: Any, given: list[Value]) -> Value:
        axes = integers(*equation.params["axes"])
        value = given[0]
        if dtype_of(equation.invars[0]).kind == "b":
            value = graph.add("Cast", value, to=code_of(np.int32))
            return graph.add("Cast", graph.add(operator, value, axes, keepdims=0), to=code_of(bool))
        return graph.add(operator, value, axes, keepdims=0)

    return reduce


def _arg(operator: str) -> Operator:
    def find(graph: Graph, equation: Any, given: list[Value]) -> Value:
        (axis,) = equation.params["axes"]
        found = graph.add(operator, given[0], axis=axis, keepdims=0)
        return graph.add("Cast", found, to=code_of(equation.params["index_dtype"]))

    return find


def _iota(graph: Graph, equation: Any, given: list[Value]) -> Value:
    shape, axis = shape_of(equation.outvars[0]), equation.params["dimension"]
    line = numbered(graph, shape[axis])
    line = graph.add("Cast", line, to=code_of(equation.params["dtype"]))
    thin = [1] * len(shape)
    thin[axis] = shape[axis]
    return graph.add("Expand", reshaped(graph, line, tuple(thin)), graph.shape(shape))


def _concatenate(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Concat", *given, axis=equation.params["dimension"])


def _stack(graph: Graph, equation: Any, given: list[Value]) -> Value:
    axis = equation.params["axis"]
    thick = [graph.add("Unsqueeze", value, integers(axis)) for value in given]
    return graph.add("Concat", *thick, axis=axis)


def _slice(graph: Graph, equation: Any, given: list[Value]) -> Value:
    params, shape = equation.params, shape_of(equation.invars[0])
    strides = params["strides"] or (1,) * len(shape)
    parts = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [
        (axis, start, stop, stride)
        for axis, (start, stop, stride, size) in enumerate(parts)
        if (start, stop, stride) != (0, size, 1)
    ]
    if not cut:
        return given[0]
    axes, starts, stops, strides = (integers(*column) for column in zip(*cut, strict=True))
    return graph.add("Slice", given[0], starts, stops, axes, strides)


def _split(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    axis, start, parts = integers(equation.params["axis"]), 0, []
    for size in equation.params["sizes"]:
        bounds = integers(start), integers(start + size)
        parts.append(graph.add("Slice", given[0], *bounds, axis))
        start += size
    return parts


def _pad(graph: Graph, equation: Any, given: list[Value]) -> Value:
    value, filling = given
    shape = list(shape_of(equation.invars[0]))
    if isinstance(filling, np.ndarray):
        filling = np.real(filling)  # of complex numbers, both parts are filled with it
    for axis, (_, _, interior) in enumerate(equation.params["padding_config"]):
        if interior:
            value, shape = _spread(graph, value, shape, axis, interior, filling)
    edges = [(low, high) for low, high, _ in equation.params["padding_config"]]
    if any(max(pair) > 0 for pair in edges):
        ends = [max(low, 0) for low, _ in edges] + [max(high, 0) for _, high in edges]
        axes = integers(*range(len(edges)))
        value = graph.add("Pad", value, integers(*ends), filling, axes)
    cropped = [
        (axis, -min(low, 0), min(high, 0) or np.iinfo(np.int64).max)
        for axis, (low, high) in enumerate(edges)
        if min(low, high) < 0
    ]
    if not cropped:
        return value
    axes, starts, stops = (integers(*column) for column in zip(*cropped, strict=True))
    return graph.add("Slice", value, starts, stops, axes)


def _spread(
    graph: Graph, value: Value, shape: list[int], axis: int, interior: int, filling: Value
) -> tuple[Value, list[int]]:
    """Puts values between those along an axis."""
    value = graph.add("Unsqueeze", value, integers(axis + 1))
    ends = [0] * 2 * (len(shape) + 1)
    ends[len(shape) + 1 + axis + 1] = interior
    value = graph.add("Pad", value, integers(*ends), filling)
    wide = [*shape]
    wide[axis] *= interior + 1
    value = reshaped(graph, value, tuple(wide))
    stop = integers(wide[axis] - interior)
    wide[axis] -= interior
    return graph.add("Slice", value, integers(0), stop, integers(axis)), wide


def _product(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """A product over any axes: one of matrices where it is one, else an Einsum."""
    (left_over, right_over), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = (len(shape_of(atom)) for atom in equation.invars)
    given = [
        graph.add("Cast", value, to=code_of(dtype_of(equation.outvars[0])))
        if dtype_of(atom) != dtype_of(equation.outvars[0])
        else value
        for value, atom in zip(given, equation.invars, strict=True)
    ]
    if not left_batch and right == 2 and (left_over, right_over) == ((left - 1,), (0,)):
        return graph.add("MatMul", *given)
    letters = iter(ascii_letters)
    of_left = [next(letters) for _ in range(left)]
    of_right = [next(letters) for _ in range(right)]
    for ours, theirs in zip((*left_over, *left_batch), (*right_over, *right_batch), strict=True):
        of_right[theirs] = of_left[ours]
    result = [of_left[axis] for axis in left_batch]
    result += [c for axis, c in enumerate(of_left) if axis not in (*left_over, *left_batch)]
    result += [c for axis, c in enumerate(of_right) if axis not in (*right_over, *right_batch)]
    rule = f"{''.join(of_left)},{''.join(of_right)}->{''.join(result)}"
    return graph.add("Einsum", *given, equation=rule)


def _convolution(graph: Graph, equation: Any, given: list[Value]) -> Value:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise InputError("format = onnx; the model has a convolution of groups of examples")
    image, kernel = (
        graph.add("Transpose", value, perm=list(order)) if isinstance(value, str)
        else value.transpose(order)
        for value, order in zip(given, (numbers.lhs_spec, numbers.rhs_spec), strict=True)
    )  # fmt: skip
    shape = [shape_of(equation.invars[0])[axis] for axis in numbers.lhs_spec]
    zero = np.zeros((), dtype_of(equation.invars[0]))
    for axis, times in enumerate(params["lhs_dilation"], 2):
        if times > 1:
            image, shape = _spread(graph, image, shape, axis, times - 1, zero)
    padding = params["padding"]
    if min(min(pair) for pair in padding) < 0:
        starts = integers(*(max(-low, 0) for low, _ in padding))
        sizes = zip(shape[2:], padding, strict=True)
        stops = integers(*(size + min(high, 0) for size, (_, high) in sizes))
        axes = integers(*range(2, len(shape)))
        image = graph.add("Slice", image, starts, stops, axes)
    ends = [max(low, 0) for low, _ in padding] + [max(high, 0) for _, high in padding]
    y = graph.add(
        "Conv",
        image,
        kernel,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=ends,
        group=params["feature_group_count"],
    )
    back = np.argsort(numbers.out_spec)
    return graph.add("Transpose", y, perm=back.tolist())


def _cumulative_sum(graph: Graph, equation: Any, given: list[Value]) -> Value:
    axis = np.array(equation.params["axis"], np.int64)
    return graph.add("CumSum", given[0], axis, reverse=int(equation.params["reverse"]))


_PLAIN = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max",
    "min": "Min", "pow": "Pow", "neg": "Neg", "abs": "Abs", "sign": "Sign", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf",
    "floor": "Floor", "ceil": "Ceil", "sin": "Sin", "cos": "Cos", "eq": "Equal", "lt": "Less",
    "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
}  # fmt: skip
OPERATORS: dict[str, Operator] = {
    **{name: _plain(operator) for name, operator in _PLAIN.items()},
    **CONTROL,
    **COMPLEX,
    **INDEXING,
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier"), _same),
    **dict.fromkeys(("sharding_constraint", "pvary"), _same),
    "and": _bits("And"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _cast,
    "cumsum": _cumulative_sum,
    "dot_general": _product,
    "erfc": _complementary_error,
    "expand_dims": _reshape,
    "expm1": _expm1,
    "integer_pow": _power,
    "iota": _iota,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _negated("Equal"),
    "not": _bits("Not"),
    "or": _bits("Or"),
    "pad": _pad,
    "reduce_and": _reduction("ReduceMin"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_or": _reduction("ReduceMax"),
    "reduce_sum": _reduction("ReduceSum"),
    "rem": _remainder,
    "reshape": _reshape,
    "round": _round,
    "rsqrt": _reciprocal_root,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "squeeze": _reshape,
    "stack": _stack,
    "transpose": _transpose,
}
OPERATORS_OF_PAIRS: dict[str, Operator] = {
    **{name: OPERATORS[name] for name in SAME_OF_PAIRS},
    **OF_PAIRS,
}
