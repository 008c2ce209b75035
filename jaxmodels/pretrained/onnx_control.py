"""Loops and branches of a jaxpr as operators of ONNX, whose bodies see what was computed before."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxmodels.pretrained.onnx_graph import Graph, Operator, Value, interpret
from jaxmodels.pretrained.onnx_shapes import code_of, dtype_of


def _while(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    params = equation.params
    ahead, both = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, start = given[:ahead], given[ahead:both], given[both:]
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    types = [dtype_of(variable) for variable in equation.outvars]
    (begins,) = _interpreted(graph, condition, [*of_condition, *start])
    part = graph.part()
    names = [part.fresh() for _ in start]
    state = _interpreted(part, body, [*of_body, *names])
    (goes_on,) = _interpreted(part, condition, [*of_condition, *state])
    made = _body(part, list(zip(names, types)), [goes_on, *state], [np.bool_, *types], counts=True)
    return [*graph.add_several("Loop", len(start), "", begins, *start, body=made)]


def _scan(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    params, jaxpr = equation.params, equation.params["jaxpr"]
    fixed, carried = params["num_consts"], params["num_carry"]
    constants, start = given[:fixed], given[fixed : fixed + carried]
    rows = given[fixed + carried :]
    part = graph.part()
    names = [part.fresh() for _ in (*start, *rows)]
    results = _interpreted(part, jaxpr, [*constants, *names])
    kinds = [np.dtype(aval.dtype) for aval in jaxpr.in_avals[fixed:]]
    inputs = list(zip(names, kinds, strict=True))
    if not rows:
        # ONNX counts the steps by what it reads.
        rows = [np.zeros(params["length"], np.int64)]
        inputs.append((part.fresh(), np.dtype(np.int64)))
    types = [dtype_of(variable) for variable in equation.outvars]
    body, backwards = _body(part, inputs, results, types), int(params["reverse"])
    directions = {"scan_input_directions": [backwards] * len(rows)}
    if len(types) > carried:
        directions["scan_output_directions"] = [backwards] * (len(types) - carried)
    given = [*start, *rows]
    reads = {"num_scan_inputs": len(rows), **directions}
    return [*graph.add_several("Scan", len(types), *given, body=body, **reads)]


def _cond(graph: Graph, equation: Any, given: list[Value]) -> list[Value]:
    index, *inputs = given
    branches = equation.params["branches"]
    if isinstance(index, np.ndarray):
        return _interpreted(graph, branches[np.clip(int(index), 0, len(branches) - 1)], inputs)
    types = [dtype_of(variable) for variable in equation.outvars]
    number = graph.add("Cast", index, to=code_of(np.int64))
    return _chosen(graph, number, branches, inputs, types)


def _chosen(
    graph: Graph, number: Value, branches: Sequence[Any], inputs: list[Value], types: list
) -> list[Value]:
    """Computes the branch of a number: the first, or one of the others."""
    first, *others = branches
    if not others:
        return _interpreted(graph, first, inputs)
    here, there = graph.part(), graph.part()
    one = _interpreted(here, first, inputs)
    less = there.add("Sub", number, np.array(1, np.int64)) if len(others) > 1 else number
    other = _chosen(there, less, others, inputs, types)
    made = graph.add_several(
        "If",
        len(types),
        graph.add("LessOrEqual", number, np.array(0, np.int64)),
        then_branch=_body(here, [], one, types),
        else_branch=_body(there, [], other, types),
    )
    return [*made]


def _interpreted(graph: Graph, closed: Any, inputs: list[Value]) -> list[Value]:
    return interpret(graph, closed.jaxpr, [np.asarray(each) for each in closed.consts], inputs)


def _body(
    part: Graph,
    inputs: Sequence[tuple[str, Any]],
    results: list[Value],
    types: Sequence[Any],
    counts: bool = False,
) -> Any:
    """Makes a graph of a part, with inputs and outputs of these types.

    counts: a loop tells it first how often it went round, and whether it goes on.
    """
    from onnx import helper

    outputs = [part.add("Identity", result) for result in results]

    def told(names: Sequence[tuple[str, Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, code_of(kind), None) for name, kind in names]

    rounds = [
        helper.make_tensor_value_info(part.fresh(), code_of(kind), ())
        for kind in (np.int64, np.bool_) * counts
    ]
    named = list(zip(outputs, types, strict=True))
    return helper.make_graph(part.nodes, part.fresh(), [*rounds, *told(inputs)], told(named))


CONTROL: dict[str, Operator] = {"cond": _cond, "scan": _scan, "while": _while}
