"""Label smoothing of the cross-entropy of a linear head, without its logits."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def smoothing_difference(
    hidden: Float[Array, "batch length width"],
    kernel: Float[Array, "width vocabulary"],
    targets: Int[Array, "batch length"],
    weights: Float[Array, "batch length"],
) -> Float[Array, ""]:
    """Computes the sum over tokens of weight * (logit of the target - mean of all logits).

    The cross-entropy with the target (1 - s) one-hot + s / vocabulary (Szegedy et al. 2016, section
    7) is the plain one and s times this. The mean of the logits of a linear head is what the mean
    of its columns gives, so that no logit is computed again.

    targets: those of tokens of weight 0 may be any number.
    """
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    places = jnp.clip(targets, 0, kernel.shape[1] - 1)
    columns = jnp.take(kernel.T, places, axis=0) - jnp.mean(kernel, axis=1)
    each = jnp.einsum("blw,blw->bl", hidden.astype(wide), columns.astype(wide))
    return jnp.sum(jnp.where(weights == 0, 0, weights * each))
