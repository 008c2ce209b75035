"""What is read or written at computed places, as operators of ONNX."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import lax

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_graph import Graph, Operator, Value
from jaxmodels.pretrained.onnx_shapes import (
    clamped,
    code_of,
    dtype_of,
    integers,
    numbered,
    reshaped,
    shape_of,
    size_of,
    transposed,
)

_Mode = lax.GatherScatterMode


@dataclass(frozen=True)
class _Windows:
    """Windows of an array, each at places that are computed.

    shape: of the array. lead: of the arrays of places.
    starts: the first place of each window, int64, by axis of the array.
    batching: axes of the array that go along with one of `lead`.
    sizes: of windows, by axis of `starts`; those of one place have no axis of their own.
    """

    shape: tuple[int, ...]
    lead: tuple[int, ...]
    starts: Mapping[int, Value]
    batching: Mapping[int, int]
    sizes: Mapping[int, int]

    @property
    def placed(self) -> list[int]:
        """Returns the axes of the array that have computed places."""
        return sorted([*self.starts, *self.batching])

    @property
    def whole(self) -> list[int]:
        """Returns the axes of the array that windows have whole."""
        return [axis for axis in range(len(self.shape)) if axis not in self.placed]

    @property
    def inner(self) -> list[int]:
        """Returns the axes of the array that a window has, as they follow `lead`."""
        return [*sorted(self.sizes), *self.whole]

    def last(self, graph: Graph, axis: int) -> Value:
        """Returns the last place at which a window can start."""
        return size_of(graph, self.shape[axis], self.sizes.get(axis, 1))

    def inside(self, graph: Graph) -> Value:
        """Tells which windows are inside of the array, bool of the shape `lead`."""
        tests = [
            graph.add(
                "And",
                graph.add("GreaterOrEqual", start, np.array(0, np.int64)),
                graph.add("LessOrEqual", start, self.last(graph, axis)),
            )
            for axis, start in self.starts.items()
        ]
        result = tests[0]
        for test in tests[1:]:
            result = graph.add("And", result, test)
        return result

    def indices(self, graph: Graph, elsewhere: Value | None = None) -> Value:
        """Makes the indices of all places of the windows, int64, for an array with the axes
        `placed` in front. Windows that reach beyond the array are moved into it.

        elsewhere: which windows get a place behind the last one of the first axis instead.
        """
        axes = sorted(self.sizes)
        full = (*self.lead, *(self.sizes[axis] for axis in axes))
        ones = (1,) * len(axes)
        columns = []
        for axis in self.placed:
            if axis in self.batching:
                line = [1] * len(full)
                line[self.batching[axis]] = self.shape[axis]
                column = reshaped(graph, numbered(graph, self.shape[axis]), tuple(line))
            else:
                zero = np.array(0, np.int64)
                column = clamped(graph, self.starts[axis], zero, self.last(graph, axis))
                column = reshaped(graph, column, (*self.lead, *ones))
            if axis in self.sizes:
                line = [1] * len(full)
                line[len(self.lead) + axes.index(axis)] = self.sizes[axis]
                along = np.arange(self.sizes[axis]).reshape(line)
                column = graph.add("Add", column, along)
            column = graph.add("Expand", column, graph.shape(full))
            if elsewhere is not None and axis == self.placed[0]:
                # Broadcast to `full`, over the places of each window.
                which = reshaped(graph, elsewhere, (*self.lead, *ones))
                column = graph.add("Where", which, size_of(graph, self.shape[axis]), column)
            columns.append(graph.add("Unsqueeze", column, integers(-1)))
        return graph.add("Concat", *columns, axis=-1)


def _columns(graph: Graph, value: Value, axes: Iterable[Any]) -> dict[int, Value]:
    """Takes an array of indices apart: what stands for each axis."""
    value = graph.add("Cast", value, to=code_of(np.int64))
    return {
        int(axis): graph.add("Gather", value, np.array(number, np.int64), axis=-1)
        for number, axis in enumerate(axes)
    }


def _pairs(ours: Iterable[Any], theirs: Iterable[Any]) -> dict[int, int]:
    return dict(zip(map(int, ours), map(int, theirs), strict=True))


def _require_whole(windows: _Windows, sizes: Mapping[int, int]) -> None:
    """Raises InputError for windows that have a part of an axis at a fixed place."""
    if any(sizes.get(axis) != windows.shape[axis] for axis in windows.whole):
        raise InputError(
            "format = onnx; the model reads or writes parts of an array in a way that the"
            " conversion lacks: export it as --format stablehlo"
        )


def _gather(graph: Graph, equation: Any, given: list[Value]) -> Value:
    params, shape = equation.params, shape_of(equation.invars[0])
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    lead = shape_of(equation.invars[1])[:-1]
    inner = [*numbers.collapsed_slice_dims, *numbers.operand_batching_dims]
    kept = [axis for axis in range(len(shape)) if axis not in inner]
    batching = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    windows = _Windows(
        shape,
        lead,
        _columns(graph, given[1], numbers.start_index_map),
        _pairs(*batching),
        {axis: sizes[axis] for axis in kept if axis in numbers.start_index_map},
    )
    _require_whole(windows, {axis: sizes[axis] for axis in kept})
    # The result leads with `lead`; the model has the axes of windows among these.
    rank = len(lead) + len(kept)
    between = [place for place in range(rank) if place not in numbers.offset_dims]
    order = [0] * rank
    for place, axis in zip(numbers.offset_dims, kept, strict=True):
        order[place] = len(lead) + windows.inner.index(axis)
    for axis, place in enumerate(between):
        order[place] = axis
    axes = windows.placed
    if len(axes) == 1 and axes[0] in windows.starts and not windows.sizes:
        # Whole slices along one axis, as `jnp.take` and table[rows] do. Both clamp and fill leave
        # indices in range as they are; ONNX refuses others.
        zero = np.array(0, np.int64)
        index = clamped(graph, windows.starts[axes[0]], zero, windows.last(graph, axes[0]))
        found = graph.add("Gather", given[0], index, axis=axes[0])
        lies = [*range(axes[0], axes[0] + len(lead))]
        rest = [place for place in range(rank) if place not in lies]
        return transposed(graph, found, [(lies + rest)[place] for place in order])
    data = transposed(graph, given[0], [*axes, *windows.whole])
    found = transposed(graph, graph.add("GatherND", data, windows.indices(graph)), order)
    if params["mode"] != _Mode.FILL_OR_DROP:
        return found
    inside = reshaped(graph, windows.inside(graph), (*lead, *(1,) * (rank - len(lead))))
    fill = np.array(_filling(params["fill_value"], dtype_of(equation.outvars[0])))
    return graph.add("Where", transposed(graph, inside, order), found, fill)


def _filling(given: Any, dtype: np.dtype) -> Any:
    """Returns what `jax.lax.gather` gives where nothing is."""
    if given is not None:
        return dtype.type(given)
    if dtype.kind == "b":
        return np.True_
    if dtype.kind == "f":
        return dtype.type(np.nan)
    return np.iinfo(dtype).max if dtype.kind == "u" else dtype.type(np.iinfo(dtype).min)


def _scatter(reduction: str) -> Operator:
    def write(graph: Graph, equation: Any, given: list[Value]) -> Value:
        operand, indices, updates = equation.invars
        numbers, shape = equation.params["dimension_numbers"], shape_of(operand)
        outer = [*numbers.inserted_window_dims, *numbers.operand_batching_dims]
        kept = [axis for axis in range(len(shape)) if axis not in outer]
        size = dict(zip(kept, [shape_of(updates)[axis] for axis in numbers.update_window_dims]))
        mapped = numbers.scatter_dims_to_operand_dims
        batching = numbers.operand_batching_dims, numbers.scatter_indices_batching_dims
        windows = _Windows(
            shape,
            shape_of(indices)[:-1],
            _columns(graph, given[1], mapped),
            _pairs(*batching),
            {axis: size[axis] for axis in kept if axis in mapped},
        )
        _require_whole(windows, size)
        rank = len(shape_of(updates))
        order = [place for place in range(rank) if place not in numbers.update_window_dims]
        order += [numbers.update_window_dims[kept.index(axis)] for axis in windows.inner]
        drops = equation.params["mode"] == _Mode.FILL_OR_DROP
        dtype, new = dtype_of(operand), transposed(graph, given[2], order)
        return _written(graph, windows, given[0], new, dtype, reduction, drops)

    return write


def _written(
    graph: Graph,
    windows: _Windows,
    value: Value,
    new: Value,
    dtype: np.dtype,
    reduction: str,
    drops: bool,
) -> Value:
    """Writes windows into an array.

    drops: those that are not inside of it are left out, instead of moved into it.
    """
    axes = [*windows.placed, *windows.whole]
    # ONNX has no extremes of truth values.
    is_logical = dtype.kind == "b" and reduction != "none"
    if is_logical:
        value, new = (graph.add("Cast", each, to=code_of(np.int32)) for each in (value, new))
    data, elsewhere = transposed(graph, value, axes), None
    rows = windows.shape[axes[0]]
    if drops:
        # What is dropped goes to one more row, which is cut off.
        elsewhere = graph.add("Not", windows.inside(graph))
        zero = np.zeros((), np.int32 if is_logical else dtype)
        data = graph.add("Pad", data, integers(0, 1), zero, integers(0))
    indices = windows.indices(graph, elsewhere)
    found = graph.add("ScatterND", data, indices, new, reduction=reduction)
    if drops:
        found = graph.add("Slice", found, integers(0), graph.shape((rows,)), integers(0))
    found = transposed(graph, found, np.argsort(axes))
    return graph.add("Cast", found, to=code_of(dtype)) if is_logical else found


def _starts(graph: Graph, given: list[Value], sizes: tuple, shape: tuple) -> dict[int, Value]:
    """Returns where a window of these sizes starts, for the axes that it does not have whole."""
    return {
        axis: graph.add("Cast", start, to=code_of(np.int64))
        for axis, (start, size, own) in enumerate(zip(given, sizes, shape, strict=True))
        if size != own
    }


def _dynamic_slice(graph: Graph, equation: Any, given: list[Value]) -> Value:
    value, *starts = given
    shape, sizes = shape_of(equation.invars[0]), equation.params["slice_sizes"]
    for axis, start in _starts(graph, starts, sizes, shape).items():
        last = size_of(graph, shape[axis], sizes[axis])
        first = clamped(graph, start, np.array(0, np.int64), last)
        first = graph.add("Unsqueeze", first, integers(0))
        stop = graph.add("Add", first, integers(sizes[axis]))
        value = graph.add("Slice", value, first, stop, integers(axis))
    return value


def _dynamic_update(graph: Graph, equation: Any, given: list[Value]) -> Value:
    value, new, *starts = given
    shape, sizes = (shape_of(atom) for atom in equation.invars[:2])
    places = _starts(graph, starts, sizes, shape)
    if not places:
        return new
    windows = _Windows(shape, (), places, {}, {axis: sizes[axis] for axis in places})
    new = transposed(graph, new, windows.inner)
    return _written(graph, windows, value, new, dtype_of(equation.invars[0]), "none", False)


def _reverse(graph: Graph, equation: Any, given: list[Value]) -> Value:
    axes = equation.params["dimensions"]
    ends = integers(*[np.iinfo(np.int64).min] * len(axes))
    back = integers(*[-1] * len(axes))
    return graph.add("Slice", given[0], back, ends, integers(*axes), back)


def _top(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    """Of equal numbers ONNX takes the first first, as jax does."""
    params = equation.params
    count, axis = integers(params["k"]), params["axis"]
    found, places = graph.add_several("TopK", 2, given[0], count, axis=axis)
    return [found, graph.add("Cast", places, to=code_of(dtype_of(equation.outvars[1])))]


def _sort(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    params, axis = equation.params, equation.params["dimension"]
    if params["num_keys"] != 1 or dtype_of(equation.invars[0]).kind == "b":
        raise InputError("format = onnx; the model sorts in a way that the conversion lacks")
    size = graph.shape((shape_of(equation.invars[0])[axis],))
    ordered, places = graph.add_several("TopK", 2, given[0], size, axis=axis, largest=0)
    rest = [graph.add("GatherElements", value, places, axis=axis) for value in given[1:]]
    return [ordered, *rest]


INDEXING: dict[str, Operator] = {
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "gather": _gather,
    "rev": _reverse,
    "scatter": _scatter("none"),
    "scatter-add": _scatter("add"),
    "scatter-max": _scatter("max"),
    "scatter-min": _scatter("min"),
    "scatter-mul": _scatter("mul"),
    "sort": _sort,
    "top_k": _top,
}
