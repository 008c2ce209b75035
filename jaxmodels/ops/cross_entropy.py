"""Cross-entropy of a categorical distribution, in log space."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"] | Float[Array, "*batch classes"],
    smoothing: Float[Array, ""] | float = 0.0,
) -> Float[Array, "*batch"]:
    """Computes nats per example: -(1 - s) log p(label) - s * mean over classes of log p(class).

    labels: the number of each example's class, or the probabilities of all classes, which sum to
      one (mixed examples): -sum over classes of probability log p(class), smoothed alike. The loss
      of a number outside 0..classes-1 is NaN.
    smoothing: s; the target is (1 - s) one-hot + s / classes (Szegedy et al. 2016, section 7).
    """
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    if labels.ndim == logits.ndim:
        true_logit = jnp.sum(labels * logits, axis=-1)
    else:
        true_logit = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="fill")[..., 0]
    # The smoothing is a difference from the true logit, so that it rounds nothing where s is 0.
    return log_normalizer - true_logit + smoothing * (true_logit - jnp.mean(logits, axis=-1))
