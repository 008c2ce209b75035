"""Operations of a jaxpr as operators of ONNX."""

from collections.abc import Callable
from string import ascii_letters
from typing import Any

import numpy as np
from jax import lax

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_graph import Graph, Value

Operator = Callable[[Graph, Any, list[Value]], Value | list[Value]]


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(atom.aval.shape)


def _dtype(atom: Any) -> np.dtype:
    return np.dtype(atom.aval.dtype)


def _integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _code(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _plain(operator: str) -> Operator:
    return lambda graph, equation, given: graph.add(operator, *given)


def _negated(operator: str) -> Operator:
    return lambda graph, equation, given: graph.add("Not", graph.add(operator, *given))


def _same(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    return given


def _reshape(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return _reshaped(graph, given[0], _shape(equation.outvars[0]))


def _reshaped(graph: Graph, value: Value, shape: tuple[int, ...]) -> Value:
    varying = [graph.is_varying((size,)) for size in shape]
    if sum(varying) == 1 and 0 not in shape:
        target: Value = _integers(*(-1 if v else s for s, v in zip(shape, varying, strict=True)))
    else:
        target = graph.shape(shape)
    return graph.add("Reshape", value, target)


def _broadcast(graph: Graph, equation: Any, given: list[Value]) -> Value:
    shape, axes = _shape(equation.outvars[0]), equation.params["broadcast_dimensions"]
    own = _shape(equation.invars[0])
    thin = [1] * len(shape)
    for axis, size in zip(axes, own, strict=True):
        thin[axis] = size
    value = given[0]
    if tuple(thin) != own:
        value = _reshaped(graph, value, tuple(thin))
    return value if tuple(thin) == shape else graph.add("Expand", value, graph.shape(shape))


def _transpose(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Transpose", given[0], perm=list(equation.params["permutation"]))


def _cast(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Cast", given[0], to=_code(equation.params["new_dtype"]))


def _select(graph: Graph, equation: Any, given: list[Value]) -> Value:
    which, *cases = given
    if len(cases) != 2 or _dtype(equation.invars[0]).kind != "b":
        raise InputError("format = onnx; the model selects among several: use --format stablehlo")
    return graph.add("Where", which, cases[1], cases[0])


def _clamp(graph: Graph, equation: Any, given: list[Value]) -> Value:
    low, value, high = given
    return graph.add("Min", graph.add("Max", value, low), high)


def _power(graph: Graph, equation: Any, given: list[Value]) -> Value:
    exponent = np.array(equation.params["y"], _dtype(equation.invars[0]))
    return graph.add("Pow", given[0], exponent)


def _square(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Mul", given[0], given[0])


def _reciprocal_root(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Reciprocal", graph.add("Sqrt", given[0]))


def _expm1(graph: Graph, equation: Any, given: list[Value]) -> Value:
    one = np.ones((), _dtype(equation.invars[0]))
    return graph.add("Sub", graph.add("Exp", given[0]), one)


def _log1p(graph: Graph, equation: Any, given: list[Value]) -> Value:
    one = np.ones((), _dtype(equation.invars[0]))
    return graph.add("Log", graph.add("Add", given[0], one))


def _round(graph: Graph, equation: Any, given: list[Value]) -> Value:
    if equation.params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        raise InputError("format = onnx; ONNX rounds to the nearest even: use --format stablehlo")
    return graph.add("Round", given[0])


def _reduction(operator: str) -> Operator:
    def reduce(graph: Graph, equation: Any, given: list[Value]) -> Value:
        axes = _integers(*equation.params["axes"])
        value = given[0]
        if _dtype(equation.invars[0]).kind == "b":
            value = graph.add("Cast", value, to=_code(np.int32))
            return graph.add("Cast", graph.add(operator, value, axes, keepdims=0), to=_code(bool))
        return graph.add(operator, value, axes, keepdims=0)

    return reduce


def _arg(operator: str) -> Operator:
    def find(graph: Graph, equation: Any, given: list[Value]) -> Value:
        (axis,) = equation.params["axes"]
        found = graph.add(operator, given[0], axis=axis, keepdims=0)
        return graph.add("Cast", found, to=_code(equation.params["index_dtype"]))

    return find


def _iota(graph: Graph, equation: Any, given: list[Value]) -> Value:
    shape, axis = _shape(equation.outvars[0]), equation.params["dimension"]
    end = graph.add("Squeeze", graph.shape(shape[axis : axis + 1]), _integers(0))
    line = graph.add("Range", np.array(0, np.int64), end, np.array(1, np.int64))
    line = graph.add("Cast", line, to=_code(equation.params["dtype"]))
    thin = [1] * len(shape)
    thin[axis] = shape[axis]
    return graph.add("Expand", _reshaped(graph, line, tuple(thin)), graph.shape(shape))


def _concatenate(graph: Graph, equation: Any, given: list[Value]) -> Value:
    return graph.add("Concat", *given, axis=equation.params["dimension"])


def _stack(graph: Graph, equation: Any, given: list[Value]) -> Value:
    axis = equation.params["axis"]
    thick = [graph.add("Unsqueeze", value, _integers(axis)) for value in given]
    return graph.add("Concat", *thick, axis=axis)


def _slice(graph: Graph, equation: Any, given: list[Value]) -> Value:
    params, shape = equation.params, _shape(equation.invars[0])
    strides = params["strides"] or (1,) * len(shape)
    parts = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [
        (axis, start, stop, stride)
        for axis, (start, stop, stride, size) in enumerate(parts)
        if (start, stop, stride) != (0, size, 1)
    ]
    if not cut:
        return given[0]
    axes, starts, stops, strides = (_integers(*column) for column in zip(*cut, strict=True))
    return graph.add("Slice", given[0], starts, stops, axes, strides)


def _split(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    axis, start, parts = _integers(equation.params["axis"]), 0, []
    for size in equation.params["sizes"]:
        bounds = _integers(start), _integers(start + size)
        parts.append(graph.add("Slice", given[0], *bounds, axis))
        start += size
    return parts


def _pad(graph: Graph, equation: Any, given: list[Value]) -> Value:
    value, filling = given
    shape = list(_shape(equation.invars[0]))
    for axis, (_, _, interior) in enumerate(equation.params["padding_config"]):
        if interior:
            value, shape = _spread(graph, value, shape, axis, interior, filling)
    edges = [(low, high) for low, high, _ in equation.params["padding_config"]]
    if any(max(pair) > 0 for pair in edges):
        ends = [max(low, 0) for low, _ in edges] + [max(high, 0) for _, high in edges]
        value = graph.add("Pad", value, _integers(*ends), filling)
    cropped = [
        (axis, -min(low, 0), min(high, 0) or np.iinfo(np.int64).max)
        for axis, (low, high) in enumerate(edges)
        if min(low, high) < 0
    ]
    if not cropped:
        return value
    axes, starts, stops = (_integers(*column) for column in zip(*cropped, strict=True))
    return graph.add("Slice", value, starts, stops, axes)


def _spread(
    graph: Graph, value: Value, shape: list[int], axis: int, interior: int, filling: Value
) -> tuple[Value, list[int]]:
    """Puts values between those along an axis."""
    value = graph.add("Unsqueeze", value, _integers(axis + 1))
    ends = [0] * 2 * (len(shape) + 1)
    ends[len(shape) + 1 + axis + 1] = interior
    value = graph.add("Pad", value, _integers(*ends), filling)
    wide = [*shape]
    wide[axis] *= interior + 1
    value = _reshaped(graph, value, tuple(wide))
    stop = _integers(wide[axis] - interior)
    wide[axis] -= interior
    return graph.add("Slice", value, _integers(0), stop, _integers(axis)), wide


def _product(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """A product over any axes: one of matrices where it is one, else an Einsum."""
    (left_over, right_over), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = (len(_shape(atom)) for atom in equation.invars)
    given = [
        graph.add("Cast", value, to=_code(_dtype(equation.outvars[0])))
        if _dtype(atom) != _dtype(equation.outvars[0])
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
    shape = [_shape(equation.invars[0])[axis] for axis in numbers.lhs_spec]
    zero = np.zeros((), _dtype(equation.invars[0]))
    for axis, times in enumerate(params["lhs_dilation"], 2):
        if times > 1:
            image, shape = _spread(graph, image, shape, axis, times - 1, zero)
    padding = params["padding"]
    if min(min(pair) for pair in padding) < 0:
        starts = _integers(*(max(-low, 0) for low, _ in padding))
        sizes = zip(shape[2:], padding, strict=True)
        stops = _integers(*(size + min(high, 0) for size, (_, high) in sizes))
        axes = _integers(*range(2, len(shape)))
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


def _gather(graph: Graph, equation: Any, given: list[Value]) -> Value:
    """Takes whole slices along one axis, as `jnp.take` and table[rows] do."""
    params, shape = equation.params, _shape(equation.invars[0])
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    axis = numbers.start_index_map[0] if len(numbers.start_index_map) == 1 else -1
    whole = tuple(1 if place == axis else size for place, size in enumerate(shape))
    rows = len(_shape(equation.invars[1])) - 1
    offsets = tuple(range(axis)) + tuple(range(axis + rows, len(shape) - 1 + rows))
    plain = numbers.collapsed_slice_dims == (axis,) and tuple(sizes) == whole
    if axis < 0 or not plain or tuple(numbers.offset_dims) != offsets:
        raise InputError("format = onnx; the model gathers in a way that the conversion lacks")
    index = _reshaped(graph, given[1], _shape(equation.invars[1])[:-1])
    # Both clamp and fill leave indices in range as they are; ONNX refuses others.
    most = np.array(shape[axis] - 1, _dtype(equation.invars[1]))
    index = _clamp(graph, equation, [np.zeros_like(most), index, most])
    return graph.add("Gather", given[0], index, axis=axis)


def _cumulative_sum(graph: Graph, equation: Any, given: list[Value]) -> Value:
    axis = np.array(equation.params["axis"], np.int64)
    return graph.add("CumSum", given[0], axis, reverse=int(equation.params["reverse"]))


_PLAIN = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max",
    "min": "Min", "pow": "Pow", "neg": "Neg", "abs": "Abs", "sign": "Sign", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf",
    "floor": "Floor", "ceil": "Ceil", "sin": "Sin", "cos": "Cos", "eq": "Equal", "lt": "Less",
    "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "and": "And", "or": "Or",
    "not": "Not",
}  # fmt: skip
OPERATORS: dict[str, Operator] = {
    **{name: _plain(operator) for name, operator in _PLAIN.items()},
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier"), _same),
    **dict.fromkeys(("sharding_constraint", "pvary"), _same),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _cast,
    "cumsum": _cumulative_sum,
    "dot_general": _product,
    "expand_dims": _reshape,
    "expm1": _expm1,
    "gather": _gather,
    "integer_pow": _power,
    "iota": _iota,
    "log1p": _log1p,
    "ne": _negated("Equal"),
    "pad": _pad,
    "reduce_and": _reduction("ReduceMin"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_or": _reduction("ReduceMax"),
    "reduce_sum": _reduction("ReduceSum"),
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
