"""The floating-point operations of a function, counted in its jaxpr.

XLA's own count has each loop once, whatever its length, and none of a custom call's.
"""

import math
from typing import Any

from jaxmodels.ops.convolution import OPERANDS


def count_operations(jaxpr: Any) -> int:
    """Counts those of products and convolutions; a multiplication and an addition are two.

    A scan counts as often as it runs, a loop without a known length once, a branch as the largest.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _of_product(equation)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        elif name in OPERANDS:
            total += _of_own_convolution(equation)
        elif name == "cond":
            total += max(count_operations(branch.jaxpr) for branch in params["branches"])
        else:
            times = params["length"] if name == "scan" else 1
            total += times * sum(count_operations(inner) for inner in _inner(params))
    return total


def _inner(params: dict[str, Any]) -> list[Any]:
    """Returns the jaxprs of an operation that calls others."""
    found = []
    for name, value in params.items():
        # Of a function with its own derivative, the function itself is what runs.
        if name in ("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd"):
            continue
        for each in value if isinstance(value, tuple | list) else [value]:
            inner = getattr(each, "jaxpr", each)
            if hasattr(inner, "eqns"):
                found.append(inner)
    return found


def _of_product(equation: Any) -> int:
    (contracted, _), (_, _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval
    summed = math.prod(left.shape[axis] for axis in contracted)
    return 2 * summed * math.prod(equation.outvars[0].aval.shape)


def _of_convolution(equation: Any) -> int:
    kernel = equation.invars[1].aval
    numbers = equation.params["dimension_numbers"]
    outputs = kernel.shape[numbers.rhs_spec[0]]
    # A dilated input is mostly zeros, which XLA leaves out.
    skipped = math.prod(equation.params["lhs_dilation"])
    per_output = math.prod(kernel.shape) // outputs
    return 2 * per_output * math.prod(equation.outvars[0].aval.shape) // skipped


def _of_own_convolution(equation: Any) -> int:
    """Counts those of a convolution of `ops.convolution`, or of one of its gradients: all three
    multiply each number of the output image by the kernel."""
    arrays = [variable.aval for variable in (*equation.invars, *equation.outvars)]
    image, kernel = (arrays[place] for place in OPERANDS[equation.primitive.name])
    return 2 * math.prod(image.shape) * math.prod(kernel.shape[1:-1])
