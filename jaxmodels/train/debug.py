"""Finds the operation, and so the layer, that first gives a number that is not finite."""

import re
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.extend import core, source_info_util

from jaxmodels.protocol import PyTree


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every number of every floating-point leaf is finite; traceable."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def first_non_finite(function: Callable, *arguments: PyTree) -> str | None:
    """Runs function(*arguments) one operation at a time and names the first that makes finite
    inputs into a result that is not finite; None if there is none.

    Works for any function, forward and backward pass alike: modules leave their names in the
    program that JAX traces.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        if not all_finite(leaf):
            return f"the input {jax.tree_util.keystr(path)} is not finite already"
    closed = jax.make_jaxpr(function)(*arguments)
    return next(_culprits(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), ""), None)


def _culprits(jaxpr: core.Jaxpr, consts: list, arguments: list, scope: str) -> Iterator[str]:
    """Evaluates a program: yields a description of each culprit, returns the outputs."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments]))
    for equation in jaxpr.eqns:
        inputs = [v.val if isinstance(v, core.Literal) else values[v] for v in equation.invars]
        name = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        # The inputs of a call, unlike those of a loop, are the inputs of its inner program.
        if isinstance(inner, core.ClosedJaxpr) and equation.primitive.name in _CALLS:
            outputs = yield from _culprits(inner.jaxpr, inner.consts, inputs, name)
        else:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
            if not all_finite(outputs) and all_finite([jnp.asarray(x) for x in inputs]):
                if equation.primitive.name == "scan":
                    yield from _culprits_in_scan(equation, inputs, name)
                yield _describe(equation, name, outputs)
        values.update(zip(equation.outvars, outputs))
    return [v.val if isinstance(v, core.Literal) else values[v] for v in jaxpr.outvars]


def _culprits_in_scan(equation: core.JaxprEqn, inputs: list, scope: str) -> Iterator[str]:
    """Yields the culprits in a loop over slices, such as gradient accumulation."""
    body, length = equation.params["jaxpr"], equation.params["length"]
    # Versions of jax name the numbers of constants and carries differently, so shapes tell them:
    # these have the same shape inside, and slices lose their first axis.
    carried = _alike(equation.outvars, body.jaxpr.outvars)
    fixed = _alike(equation.invars, body.jaxpr.invars) - carried
    consts, carry, slices = inputs[:fixed], inputs[fixed:][:carried], inputs[fixed + carried :]
    for at in reversed(range(length)) if equation.params["reverse"] else range(length):
        arguments = [*consts, *carry, *(leaf[at] for leaf in slices)]
        outputs = yield from _culprits(body.jaxpr, body.consts, arguments, scope)
        carry = outputs[:carried]


def _alike(outer: list, inner: list) -> int:
    """Counts the values with the same shape outside and inside of a loop."""
    return sum(a.aval.shape == b.aval.shape for a, b in zip(outer, inner, strict=True))


_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_jvp_call"}


def _describe(equation: core.JaxprEqn, name: str, outputs: list) -> str:
    backward = "transpose" in name
    layer = re.sub(r"\w+\(([^()]*)\)", r"\1", re.sub(r"\w+\(([^()]*)\)", r"\1", name))
    bad = next(leaf for leaf in outputs if not all_finite(leaf))
    kind = "nan" if bool(jnp.any(jnp.isnan(bad))) else "inf"
    return (
        f"{layer or 'the objective'}, {'backward' if backward else 'forward'} pass:"
        f" '{equation.primitive.name}' gave {kind} (shape {tuple(bad.shape)})"
        f" at {source_info_util.summarize(equation.source_info)}"
    )
