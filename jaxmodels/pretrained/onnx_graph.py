"""Writes programs as ONNX, operation by operation of their jaxprs.

Operations on constants alone are computed here. So the table of operators
(onnx_operators.py) has to know what a forward pass applies to its inputs, and no more.
"""

from collections.abc import Callable, Mapping
from copy import copy
from importlib.util import find_spec
from itertools import count as count_from
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.extend import core
from jaxtyping import PyTree

from jaxmodels.errors import InputError
from jaxmodels.pretrained.programs import BATCH, Program, examples

OPSET = 21
# A prime that stands for the number of examples while a program is traced: a dimension that it
# divides is a multiple of that number.
_PRIMES = (10007, 10009, 10037, 10039)

Value = str | np.ndarray  # the name of a tensor of the graph, or a constant
Operator = Callable[["Graph", Any, list[Value]], Value | list[Value]]


class Graph:
    """An ONNX graph that is being built."""

    def __init__(self, count: int):
        self.count = count  # what stands for the number of examples
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.batch: str = ""  # the tensor that has the number of examples, int64[1]
        self._names = count_from(1)

    def part(self) -> "Graph":
        """Makes a graph for a part of this one, such as the body of a loop, which sees what this
        one has computed so far."""
        made = copy(self)
        made.nodes = []
        return made

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Adds an operation with one output; returns its name."""
        return self.add_several(operator, 1, *inputs, **attributes)[0]

    def add_several(
        self, operator: str, outputs: int, *inputs: Value, **attributes: Any
    ) -> list[str]:
        """Adds an operation; returns the names of its outputs. An input '' is left out."""
        from onnx import helper

        made = [self.fresh() for _ in range(outputs)]
        names = [self.name(value) for value in inputs]
        self.nodes.append(helper.make_node(operator, names, made, **attributes))
        return made

    def name(self, value: Value) -> str:
        """Returns the name of a value; a constant gets one, and complex ones become pairs."""
        from onnx import numpy_helper

        if isinstance(value, str):
            return value
        if np.iscomplexobj(value):
            value = np.stack([value.real, value.imag], axis=-1)
        name = self.fresh()
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def is_varying(self, shape: tuple[int, ...]) -> bool:
        """Whether a dimension depends on the number of examples."""
        return any(size and size % self.count == 0 for size in shape)

    def shape(self, shape: tuple[int, ...]) -> Value:
        """Makes a shape as a tensor."""
        if not self.is_varying(shape):
            return np.array(shape, np.int64)
        parts: list[Value] = []
        for size in shape:
            if size and size % self.count == 0:
                times = np.array([size // self.count], np.int64)
                parts.append(self.batch if times[0] == 1 else self.add("Mul", self.batch, times))
            else:
                parts.append(np.array([size], np.int64))
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def fresh(self) -> str:
        """Returns a name that nothing has."""
        return f"v{next(self._names)}"


def write_onnx(programs: Mapping[str, tuple[Program, PyTree]], folder: Path) -> dict[str, str]:
    """Writes each program into a file of its own, for any number of examples.

    Raises:
      InputError: the package onnx is not installed, or a program has an operation that is not in
        the table.
    """
    if find_spec("onnx") is None:
        raise InputError(
            "format = onnx; the package that writes it is not installed: pip install"
            " 'jaxmodels[onnx]'"
        )
    import onnx

    files = {}
    for name, (program, variables) in programs.items():
        files[name] = f"{name}.onnx"
        onnx.save(converted(name, program, variables), str(folder / files[name]))
    return files


def converted(name: str, program: Program, variables: PyTree) -> Any:
    """Converts a program to a checked model of ONNX.

    Raises:
      InputError: an operation that is not in the table.
    """
    import onnx
    from onnx import helper

    sizes = {size for leaf in jax.tree.leaves(variables) for size in np.shape(leaf)}
    count = next(prime for prime in _PRIMES if not any(size % prime == 0 for size in sizes))
    given = examples(program, count)
    closed, outputs = jax.make_jaxpr(program.run, return_shape=True)(variables, given)
    graph = Graph(count)
    first = next(iter(given))
    graph.batch = graph.add("Shape", first, start=0, end=1)
    flat = [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]
    names = jax.tree.leaves({name: name for name in given})
    constants: list[Value] = [np.asarray(constant) for constant in closed.consts]
    results = interpret(graph, closed.jaxpr, constants, [*flat, *names])
    output_names = jax.tree.leaves({name: name for name in outputs})
    for result, output in zip(results, output_names, strict=True):
        graph.nodes.append(helper.make_node("Identity", [graph.name(result)], [output]))

    def told(leaves: Mapping[str, Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(
                key,
                helper.np_dtype_to_tensor_dtype(np.dtype(leaf.dtype)),
                [BATCH, *leaf.shape[1:]],
            )
            for key, leaf in sorted(leaves.items())
        ]

    body = helper.make_graph(graph.nodes, name, told(given), told(outputs), graph.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="jaxmodels"
    )
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def interpret(graph: Graph, jaxpr: Any, constants: list[Value], inputs: list[Value]) -> list[Value]:
    """Adds the operations of a jaxpr to a graph; returns its outputs."""
    from jaxmodels.pretrained.onnx_operators import OPERATORS, OPERATORS_OF_PAIRS

    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        kind: Any = atom.aval  # numpy gives a plain number a type of its own
        return np.asarray(atom.val, kind.dtype) if isinstance(atom, core.Literal) else values[atom]

    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        primitive, params = equation.primitive, equation.params
        inner = inner_of(equation)
        if inner is not None:
            results = interpret(graph, inner.jaxpr, list(map(np.asarray, inner.consts)), given)
        elif is_constant(graph, equation, given):
            found = primitive.bind(*map(jnp.asarray, given), **params)
            results = [
                np.asarray(each) for each in (found if primitive.multiple_results else [found])
            ]
        else:
            pairs = _has_pairs(equation)
            table = OPERATORS_OF_PAIRS if pairs else OPERATORS
            if primitive.name not in table:
                named = f"'{primitive.name}'{' of complex numbers' if pairs else ''}"
                raise InputError(
                    f"format = onnx; the model has the operation {named}, which the conversion does"
                    " not know: export it as --format stablehlo"
                )
            made = table[primitive.name](graph, equation, given)
            results = made if isinstance(made, list) else [made]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def is_constant(graph: Graph, equation: Any, given: list[Value]) -> bool:
    """Whether the outputs are known here: they depend on no input, nor on how many there are."""
    shapes = [variable.aval.shape for variable in equation.outvars]
    return not any(isinstance(value, str) for value in given) and not any(
        map(graph.is_varying, shapes)
    )


def _has_pairs(equation: Any) -> bool:
    """Whether an input or output is of complex numbers."""
    atoms = (*equation.invars, *equation.outvars)
    return any(jnp.issubdtype(atom.aval.dtype, jnp.complexfloating) for atom in atoms)


def inner_of(equation: Any) -> Any:
    """Returns the jaxpr that an operation stands for, if it is a call of one."""
    from jaxmodels.ops import convolution_native as native

    name, params = equation.primitive.name, equation.params
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in _CALLS and key in params:
            inner = params[key]
            return inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
    own: Callable | None = {
        "convolve": native.convolve,
        "input_gradient": native.input_gradient,
    }.get(name)
    if own is None:
        return None

    def one_member(first, second):
        return own(first[0], second[0], **params)[None]

    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    return jax.make_jaxpr(one_member)(*shapes)


_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint"}
_CALLS |= {"core_call", "remat2", "custom_vjp_call_jaxpr"}
