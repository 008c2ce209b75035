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

    A class whose logit is -inf is impossible, as a mask makes it. It adds nothing to the loss of
    another class or to its gradient, and smoothing spreads over the other classes alone. The loss
    of an impossible label is inf.
    """
    impossible = jnp.isneginf(logits)
    # Both what is not chosen and its gradient have to be finite: nothing times infinity is NaN.
    possible_logits = jnp.where(impossible, 0, logits)
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    if labels.ndim == logits.ndim:
        wanted = jnp.where(impossible & (labels == 0), 0, logits)
        true_logit = jnp.sum(labels * wanted, axis=-1)
    else:
        true_logit = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="fill")[..., 0]
    # A factor of exactly 1 where all classes are possible.
    share = logits.shape[-1] / jnp.sum(~impossible, axis=-1).astype(logits.dtype)
    mean_logit = jnp.mean(possible_logits, axis=-1) * share
    # The smoothing is a difference from the true logit, so that it rounds nothing where s is 0.
    difference = jnp.where(jnp.isneginf(true_logit), 0, true_logit - mean_logit)
    return log_normalizer - true_logit + smoothing * difference
