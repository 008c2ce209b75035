"""Muon as its authors publish it (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

Source: `muon.py` of github.com/KellerJordan/Muon and `train_gpt_simple.py` of the same author's
modded-nanogpt. `optax.contrib.muon` differs: it corrects the bias of the momentum, which changes
the weights of the Nesterov step, and it orthogonalises in float32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.protocol import DATA_AXIS, FSDP_AXIS, MODEL_AXIS, PyTree

Coefficients = tuple[float, float, float]
Orthogonalize = Callable[[Float[Array, "rows columns"]], Float[Array, "rows columns"]]

# The coefficients of a quintic that is steep at zero and does not have 1 as a fixed point: after
# five steps singular values lie between 0.7 and 1.2. The other choice of the authors,
# (2, -1.5, 0.5) in 12 steps, converges to 1.
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

    On a mesh that divides parameters, each device orthogonalises whole matrices of its own (see
    `in_stacks`).
    """

    def init(params):
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def nesterov(gradient, momentum):
        nesterov = gradient + beta * (momentum - gradient)
        return nesterov.reshape(-1, nesterov.shape[-1])

    def scaled(direction, gradient):
        rows, columns = direction.shape
        direction = direction * max(1, columns / rows) ** 0.5
        return direction.astype(gradient.dtype).reshape(gradient.shape)

    def update(gradients, state, params=None):
        momentum = jax.tree.map(
            lambda old, gradient: old + (1 - beta) * (gradient - old), state.momentum, gradients
        )
        if across.has_mesh():
            leaves, tree = jax.tree.flatten(jax.tree.map(nesterov, gradients, momentum))
            directions = tree.unflatten(in_stacks(orthogonalize, leaves))
            steps = jax.tree.map(scaled, directions, gradients)
        else:
            steps = jax.tree.map(
                lambda gradient, momentum: scaled(
                    orthogonalize(nesterov(gradient, momentum)), gradient
                ),
                gradients,
                momentum,
            )
        return steps, MuonState(momentum)

    return optax.GradientTransformation(init, update)


def in_stacks(
    orthogonalize: Orthogonalize, matrices: Sequence[Float[Array, "_rows _columns"]]
) -> list[Float[Array, "_rows _columns"]]:
    """Orthogonalises matrices of one shape, or of its transpose, as one stack, which the mesh
    divides by matrices.

    The products of a matrix that is divided itself would gather parts of it in every iteration.
    Stacks are compiled once for all their matrices, too.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, matrix in enumerate(matrices):
        few, many = sorted(matrix.shape)
        groups.setdefault((few, many), []).append(index)
    found = list(matrices)
    for shape, indices in groups.items():
        wide = [_wide(matrices[index]) for index in indices]
        filled, ways = _ways(len(wide))
        stack = jnp.stack([*wide, *[jnp.zeros_like(wide[0])] * filled])
        for way in ways:
            stack = across.constrain(stack, *way, optional=True)
        stack = jax.vmap(orthogonalize)(stack)
        for way in reversed(ways):
            stack = across.constrain(stack, *way, optional=True)
        for at, index in enumerate(indices):
            found[index] = stack[at] if matrices[index].shape == shape else stack[at].T
    return found


def _ways(count: int) -> tuple[int, list[tuple]]:
    """Returns the shardings that a stack of so many matrices has one after another, from divided
    matrices to whole ones on each device, and how many matrices of zeros fill up the last device's
    part.

    The compiler needs one exchange from each sharding to the next; at once it would gather the
    stack. Devices along data take matrices of their own if there are enough; otherwise they do the
    same work.
    """
    mesh: Any = across.current_mesh()
    alone = count < mesh.size
    devices = mesh.size // mesh.shape[DATA_AXIS] if alone else mesh.size
    ways: list[tuple] = [(None, FSDP_AXIS, MODEL_AXIS)]
    if alone:
        ways += [(FSDP_AXIS, None, MODEL_AXIS), ((FSDP_AXIS, MODEL_AXIS), None, None)]
    else:
        ways += [
            (DATA_AXIS, FSDP_AXIS, MODEL_AXIS),
            ((DATA_AXIS, FSDP_AXIS), None, MODEL_AXIS),
            ((DATA_AXIS, FSDP_AXIS, MODEL_AXIS), None, None),
        ]
    return -count % devices, ways


def _wide(matrix: Float[Array, "rows columns"]) -> Float[Array, "_few _many"]:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


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
