"""Cross-entropy of a categorical distribution, in log space."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"] | Float[Array, "*batch classes"],
    smoothing: Float[Array, ""] | float = 0.0,
) -> Float[Array, "*batch"]:
    """Nats per example: -(1 - s) log p(label) - s * mean over classes of log p(class).

    Label smoothing: the target is (1 - s) one-hot + s / classes (Szegedy et al. 2016, section 7).
    A label outside 0..classes-1 gives NaN.
    labels: of one axis more, they are probabilities of the classes, which sum to one, in place of
    one-hot (mixed examples): -sum over classes of target log p(class), smoothed alike.
    """
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    if labels.ndim == logits.ndim:
        true = jnp.sum(labels * logits, axis=-1)
    else:
        true = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="fill")[..., 0]
    # Written as deviations from the true logit, the unsmoothed loss loses nothing to the rest.
    return log_normalizer - true + smoothing * (true - jnp.mean(logits, axis=-1))
