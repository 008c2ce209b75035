"""Metrics to look at a spike of the loss, from what a step computes anyway.

All are means over steps: of norms, of the largest logit of a batch, and of the root mean square of
activations. An objective captures activations in its own forward pass,

    logits, captured = model.apply(
        variables, tokens, capture_intermediates=modules("block_"), mutable=["intermediates"]
    )
    sums |= activation_norms(captured["intermediates"])

and gets the norms of gradients and updates from `descend_measured`.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from jaxmodels.protocol import Mean, PyTree, Score, mean_over

SCORES = MappingProxyType(
    {
        "gradient_norm": Score("neither", "", "Norm of the gradient of all parameters, unclipped."),
        "update_norm": Score("neither", "", "Norm of the step that all parameters take."),
        "largest_logit": Score("neither", "", "Largest magnitude of a batch's logits."),
    }
)


def norms_of(gradients: PyTree, updates: PyTree) -> dict[str, Mean]:
    """Computes the norms of one step's gradients and updates, over all parameters."""
    return {
        "gradient_norm": mean_over(optax.tree.norm(gradients)),
        "update_norm": mean_over(optax.tree.norm(updates)),
    }


def largest(values: Float[Array, "*values"]) -> Mean:
    """Computes the largest magnitude of one batch, which averages over batches."""
    return mean_over(jnp.max(jnp.abs(values)).astype(jnp.float32))


def modules(*prefixes: str) -> Callable[[nn.Module, str], bool]:
    """Makes a filter for `capture_intermediates`: the outputs of modules whose names begin so."""

    def chooses(module: nn.Module, method: str) -> bool:
        return method == "__call__" and str(module.name).startswith(prefixes)

    return chooses


def activation_norms(captured: PyTree) -> dict[str, Mean]:
    """Computes the root mean square over the last axis of what was captured or sown, as a mean over
    the other axes: {"norm/block_0": ...}.

    captured: the collection "intermediates" of a forward pass.
    """
    norms = {}
    for path, values in jax.tree_util.tree_leaves_with_path(captured):
        square = jnp.mean(jnp.square(values.astype(jnp.float32)), axis=-1)
        norms["norm/" + "/".join(_names(path))] = mean_over(jnp.sqrt(square))
    return norms


def _names(path: tuple[Any, ...]) -> list[str]:
    """Names the modules of a path, and the call of several, without `__call__`."""
    names = [str(part.key) for part in path if hasattr(part, "key")]
    calls = [str(part.idx) for part in path if getattr(part, "idx", 0)]
    return [name for name in names if name != "__call__"] + calls
