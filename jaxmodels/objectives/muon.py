"""Muon as its authors publish it (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

Source: `muon.py` of github.com/KellerJordan/Muon and `train_gpt_simple.py` of the same author's
modded-nanogpt. `optax.contrib.muon` differs: it corrects the bias of the momentum, which changes
the weights of the Nesterov step, and it orthogonalises in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.protocol import PyTree

Coefficients = tuple[float, float, float]
Orthogonalize = Callable[[Float[Array, "rows columns"]], Float[Array, "rows columns"]]

# Of a quintic with a steep slope at zero, whose fixed point is no 1: after five steps singular
# values lie between 0.7 and 1.2. The other choice of the authors, (2, -1.5, 0.5) in 12 steps,
# converges to 1.
STEEP: Coefficients = (3.4445, -4.7750, 2.0315)
_TINY = 1e-7


class MuonState(NamedTuple):
    """The momentum of each parameter."""

    momentum: PyTree


def scale_by_muon(
    beta: float | Float[Array, ""], orthogonalize: Orthogonalize
) -> optax.GradientTransformation:
    """Makes the rule that steps along an orthogonal matrix near the Nesterov momentum.

    Momentum and Nesterov step are interpolations, without correction of the bias. A parameter of
    more than two axes, as the kernel of a convolution, counts as the matrix [height * width *
    inputs, outputs]. Steps are scaled by sqrt(max(1, outputs / inputs)).
    """

    def init(params):
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def step(gradient, momentum):
        nesterov = gradient + beta * (momentum - gradient)
        matrix = nesterov.reshape(-1, nesterov.shape[-1])
        rows, columns = matrix.shape
        direction = orthogonalize(matrix) * max(1, columns / rows) ** 0.5
        return direction.astype(gradient.dtype).reshape(gradient.shape)

    def update(gradients, state, params=None):
        momentum = jax.tree.map(
            lambda old, gradient: old + (1 - beta) * (gradient - old), state.momentum, gradients
        )
        return jax.tree.map(step, gradients, momentum), MuonState(momentum)

    return optax.GradientTransformation(init, update)


def orthogonalized(
    matrix: Float[Array, "rows columns"],
    coefficients: Coefficients = STEEP,
    steps: int = 5,
    dtype: DTypeLike | None = jnp.bfloat16,
) -> Float[Array, "rows columns"]:
    """Moves the singular values of a matrix towards one by Newton-Schulz iterations.

    Each step maps every singular value s to a s + b s^3 + c s^5; the first divides the matrix by
    its Frobenius norm, so that none exceeds 1.

    dtype: in which it computes, and of the result; None: the matrix's own.
    """
    a, b, c = coefficients
    x = matrix.astype(dtype or matrix.dtype)
    is_tall = matrix.shape[0] > matrix.shape[1]
    if is_tall:
        x = x.T
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x = x / (jnp.sqrt(jnp.sum(jnp.square(wide))).astype(x.dtype) + _TINY)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + (c * gram) @ gram) @ x
    return x.T if is_tall else x
