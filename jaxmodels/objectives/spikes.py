"""Metrics to look at a spike of the loss, from what a step computes anyway.

All are means over steps: of norms, of the largest logit of a batch, and of activations. The norms
of gradients and updates come from `descend_measured`. Those of activations come from the forward
pass of the loss, where a model sows them,

    logits, sown = model.apply(variables, tokens, mutable=["intermediates"])
    sums |= activation_norms(sown["intermediates"]["activation_norm"])
"""

from types import MappingProxyType

import jax.numpy as jnp
import optax
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


def activation_norms(sown: tuple[Float[Array, " layer"], ...]) -> dict[str, Mean]:
    """Returns the root mean squares of activations after each block, {"norm/block_0": ...}.

    sown: what a model sowed in one pass, a norm per layer.
    """
    (norms,) = sown
    return {f"norm/block_{index}": mean_over(norm) for index, norm in enumerate(norms)}
