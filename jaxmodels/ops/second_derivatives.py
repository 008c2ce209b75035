"""Second derivatives for fast functions that have none."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def with_second_derivatives(
    fast: Callable[..., Array], plain: Callable[..., Array]
) -> Callable[..., Array]:
    """Makes a function that computes its value and its gradient as `fast` does, and any derivative
    of the gradient as `plain` does, which is the same function in operations of jax.

    fast: has a reverse-mode gradient, and none of that gradient.
    """

    @jax.custom_vjp
    def function(*args):
        return fast(*args)

    @jax.custom_jvp
    def forward(*args):
        return jax.vjp(fast, *args)

    @forward.defjvp
    def forward_tangent(primals, tangents):
        value, pull_back = forward(*primals)
        _, tangent = jax.jvp(plain, primals, tangents)
        # What the kernel keeps for its gradient is read by `backward` alone, which does not
        # differentiate it.
        return (value, pull_back), (tangent, jax.tree.map(_zero_tangent, pull_back))

    @jax.custom_jvp
    def backward(pull_back, args, cotangent):
        return pull_back(cotangent)

    @backward.defjvp
    def backward_tangent(primals, tangents):
        def gradient(args, cotangent):
            return jax.vjp(plain, *args)[1](cotangent)

        _, tangent = jax.jvp(gradient, primals[1:], tangents[1:])
        return backward(*primals), tangent

    def begin(*args):
        value, pull_back = forward(*args)
        return value, (pull_back, args)

    function.defvjp(begin, lambda kept, cotangent: backward(*kept, cotangent))
    return function


def _zero_tangent(leaf: Array) -> Array | np.ndarray:
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)
