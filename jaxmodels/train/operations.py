"""The floating-point operations of a function, counted in its jaxpr.

XLA's own count has each loop once, whatever its length, and none of a custom call's.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxmodels.ops.convolution import OPERANDS
from jaxmodels.ops.needed_share import share_in

# Products over pairs of a query and a key of the fused kernels of attention, by the beginnings of
# their names: all, and those that are needed. Backward, they compute the scores again.
_KERNELS = {
    "dot_product_attention_fwd": (2, 2),
    "dot_product_attention_bwd": (5, 4),
    "splash_mha_fwd": (2, 2),
    "splash_mha_dkv": (4, 3),
    "splash_mha_dq": (3, 1),
}


class Operations(NamedTuple):
    """Those of products and convolutions; a multiplication and an addition are two.

    computed: what a program does. needed: what its function needs, in whatever way it is computed:
    half of causal attention.
    """

    computed: int
    needed: Fraction

    def times(self, count: int) -> "Operations":
        """Returns those of so many rounds."""
        return Operations(count * self.computed, count * self.needed)


def count_operations(jaxpr: Any, names: str = "") -> Operations:
    """Counts those of a jaxpr.

    A scan counts as often as it runs, a loop without a known length once, a branch as the largest.
    What a gradient computes again counts as needed too, because nothing in a jaxpr tells it from
    the rest. So does what padding or the end of a document hides from attention.

    names: those around the jaxpr, which may mark it.

    Raises:
      ValueError: a fused kernel of attention that is not known.
    """
    counts = [_of_equation(equation, names) for equation in jaxpr.eqns]
    return _sum(counts)


def _sum(counts: list[Operations]) -> Operations:
    needed = sum((count.needed for count in counts), Fraction(0))
    return Operations(sum(count.computed for count in counts), needed)


def _of_equation(equation: Any, names: str) -> Operations:
    name, params = equation.primitive.name, equation.params
    names = f"{names}/{equation.source_info.name_stack}"
    share = share_in(names)
    if name in _PLAIN:
        computed = _PLAIN[name](equation)
        return Operations(computed, computed * (share or Fraction(1)))
    if share is not None and (name == "pallas_call" or name.startswith("dot_product_attention")):
        return _of_kernel(equation, share)
    counts = [count_operations(inner, names) for inner in _inner(params)]
    if name == "cond":
        return max(counts)
    return _sum(counts).times(params["length"] if name == "scan" else 1)


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


_PLAIN = {
    "dot_general": _of_product,
    "conv_general_dilated": _of_convolution,
    **dict.fromkeys(OPERANDS, _of_own_convolution),
}


def _of_kernel(equation: Any, share: Fraction) -> Operations:
    """Counts those of a fused kernel of causal attention over a sequence, which computes the pairs
    that are needed, but for the rest of its blocks."""
    name = equation.primitive.name
    if name == "pallas_call":
        name = equation.params["name"]
    known = next((products for begin, products in _KERNELS.items() if name.startswith(begin)), None)
    if known is None:
        raise ValueError(f"kernel = {name}; expected one of attention: {', '.join(_KERNELS)}")
    # cuDNN takes [batch, length, heads, size], splash [..., heads, length, size].
    query = next(x.aval for x in equation.invars if jnp.issubdtype(x.aval.dtype, jnp.floating))
    length = query.shape[-3 if name.startswith("dot") else -2]
    product = 2 * math.prod(query.shape) * length * share
    return Operations(round(known[0] * product), known[1] * product)
