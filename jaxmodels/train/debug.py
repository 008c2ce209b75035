"""Finds the operation, and so the layer, to which numbers that are not finite go back."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core, source_info_util

from jaxmodels.protocol import PyTree

_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_jvp_call"}


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every number of every floating-point leaf is finite; traceable."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


class Cause(NamedTuple):
    """The operation that a number goes back to."""

    at: int  # counts operations, so that causes have an order
    text: str  # empty for a constant of the program, such as the -inf of a mask


class Traced(NamedTuple):
    """A value, and what its NaNs and its infinities go back to; None where it has none."""

    value: Any
    nan: Cause | None
    inf: Cause | None


def first_non_finite(function: Callable, *arguments: PyTree) -> str | None:
    """Runs function(*arguments) one operation at a time and names the operation to which what is
    not finite in the result goes back; None if the result is finite.

    A NaN goes back to the operation that made it of inputs without NaN, an infinity to the one that
    made it of finite inputs. Infinities that do not reach the result, as those of masks, count for
    nothing. Works for any function, forward and backward pass alike: modules leave their names in
    the program that JAX traces.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    inputs = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        cause = Cause(-1, f"the input {jax.tree_util.keystr(path)} is not finite already")
        inputs.append(_traced(leaf, cause, cause))
    outputs = _evaluated(closed.jaxpr, closed.consts, inputs, "", itertools.count())
    causes = [out.nan for out in outputs if out.nan] or [out.inf for out in outputs if out.inf]
    if not causes:
        return None
    return min(causes).text or (
        "an infinity reaches the result; it may be a constant of the program, as masks have"
    )


def _traced(value: Any, nan: Cause | None, inf: Cause | None) -> Traced:
    """Keeps the causes of what a value holds."""
    has_nan, has_inf = _kinds(value)
    return Traced(value, nan if has_nan else None, inf if has_inf else None)


def _kinds(value: Any) -> tuple[bool, bool]:
    """Whether a value holds a NaN, and an infinity."""
    if not jnp.issubdtype(jax.dtypes.result_type(value), jnp.inexact):
        return False, False
    return bool(jnp.any(jnp.isnan(value))), bool(jnp.any(jnp.isinf(value)))


def _evaluated(
    jaxpr: core.Jaxpr, consts: list, inputs: Sequence[Traced], scope: str, clock: Iterator[int]
) -> list[Traced]:
    """Evaluates a program one operation at a time."""
    constant = Cause(-1, "")

    def read(variable) -> Traced:
        if isinstance(variable, core.Literal):
            return _traced(variable.val, constant, constant)
        return values[variable]

    held = [_traced(value, constant, constant) for value in consts]
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*held, *inputs]))
    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        name = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        # The inputs of a call, unlike those of a loop, are the inputs of its inner program.
        if isinstance(inner, core.ClosedJaxpr) and equation.primitive.name in _CALLS:
            outputs = _evaluated(inner.jaxpr, inner.consts, given, name, clock)
        else:
            outputs = _computed(equation, given, name, clock)
        values.update(zip(equation.outvars, outputs))
    return [read(variable) for variable in jaxpr.outvars]


def _computed(
    equation: core.JaxprEqn, inputs: list[Traced], name: str, clock: Iterator[int]
) -> list[Traced]:
    """Computes one operation, and what is not finite in its results goes back to."""
    results = equation.primitive.bind(*(x.value for x in inputs), **equation.params)
    results = list(results) if equation.primitive.multiple_results else [results]
    kinds = [_kinds(result) for result in results]
    at = next(clock)
    if not any(map(any, kinds)):
        return [Traced(result, None, None) for result in results]
    if equation.primitive.name == "scan":
        inner = _causes_in_scan(equation, inputs, name, clock)
    else:
        inner = [(None, None)] * len(results)
    nan, inf = (min((x for x in of if x), default=None) for of in zip(*(x[1:] for x in inputs)))
    outputs = []
    for result, inside in zip(results, inner):
        made = inside[0] or nan or Cause(at, _describe(equation, name, result, "nan", inf))
        grown = inside[1] or inf or nan or Cause(at, _describe(equation, name, result, "inf", None))
        outputs.append(_traced(result, made, grown))
    return outputs


def _causes_in_scan(
    equation: core.JaxprEqn, inputs: list[Traced], scope: str, clock: Iterator[int]
) -> list[tuple[Cause | None, Cause | None]]:
    """Finds the causes in a loop over slices, such as gradient accumulation, for each result."""
    body, length = equation.params["jaxpr"], equation.params["length"]
    # Versions of jax name the numbers of constants and carries differently, so shapes tell them:
    # these have the same shape inside, and slices lose their first axis.
    carried = _alike(equation.outvars, body.jaxpr.outvars)
    fixed = _alike(equation.invars, body.jaxpr.invars) - carried
    consts, carry, slices = inputs[:fixed], inputs[fixed:][:carried], inputs[fixed + carried :]
    rows = []
    for at in reversed(range(length)) if equation.params["reverse"] else range(length):
        sliced = [_traced(leaf.value[at], leaf.nan, leaf.inf) for leaf in slices]
        rows.append(_evaluated(body.jaxpr, body.consts, [*consts, *carry, *sliced], scope, clock))
        carry = rows[-1][:carried]
    return [
        (
            min((row[index].nan for row in rows if row[index].nan), default=None),
            min((row[index].inf for row in rows if row[index].inf), default=None),
        )
        for index in range(len(equation.outvars))
    ]


def _alike(outer: list, inner: list) -> int:
    """Counts the values with the same shape outside and inside of a loop."""
    return sum(a.aval.shape == b.aval.shape for a, b in zip(outer, inner, strict=True))


def _describe(equation: core.JaxprEqn, name: str, result: Any, kind: str, inf: Cause | None) -> str:
    backward = "transpose" in name
    layer = re.sub(r"\w+\(([^()]*)\)", r"\1", re.sub(r"\w+\(([^()]*)\)", r"\1", name))
    return (
        f"{layer or 'the objective'}, {'backward' if backward else 'forward'} pass:"
        f" '{equation.primitive.name}' gave {kind} (shape {tuple(result.shape)})"
        f" at {source_info_util.summarize(equation.source_info)}"
        + (f"; of an infinity: {inf.text}" if inf and inf.text else "")
    )
