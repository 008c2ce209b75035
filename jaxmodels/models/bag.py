"""Bags of words and pieces, weighted by their ratios of naive Bayes (Wang & Manning 2012, Baselines
and Bigrams), with a linear model of softmax in place of their support vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels import across
from jaxmodels.models.layers import Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.ops import example_seeds, hash_dropout

Ratios = Float[np.ndarray, "vocabulary classes"]


@dataclass(frozen=True, kw_only=True)
class BagConfig:
    """Options of the bag of words and pieces."""

    piece_scale: float = 0.2
    """Weight of pieces of words beside phrases, of which a text has fewer."""
    smoothing: float = 1.0
    """Count that each feature has in each class beforehand (Wang & Manning 2012: 1)."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        require_at_least(0, self, "piece_scale", "smoothing")

    def create(
        self,
        classes: int,
        vocabulary: int,
        dtype: DTypeLike = jnp.float32,
        ratios: Ratios | None = None,
    ) -> "Bag":
        """Creates the classifier. ratios: of `log_ratios`; None: all are 1."""
        self.validate()
        if ratios is None:
            ratios = np.ones((vocabulary, classes), np.float32)
        # A function, because fields of a module are compared and hashed.
        return Bag(classes, vocabulary, lambda: jnp.asarray(ratios), self.piece_scale)


class Bag(nn.Module):
    """logits = bias + the sum over a text's features of ratio * weight.

    Ratios are kept with the batch statistics: they are not learned and do not decay.

    ratio_init: makes the ratios [vocabulary, classes].
    """

    classes: int
    vocabulary: int
    ratio_init: Callable
    piece_scale: float = 1.0

    @nn.compact
    def __call__(
        self,
        text: TextInput,
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch classes"]:
        """Gives the logits of the classes. Dropout leaves out features."""
        shape = self.vocabulary, self.classes
        ratios = self.variable("batch_stats", "ratio", self.ratio_init).value
        weights = self.param("weight", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        scale = jnp.where(text.segments == 1, self.piece_scale, 1.0) * text.valid
        if train and dropout_rate is not None:
            seeds = example_seeds(self.make_rng("dropout"), across.positions(len(scale)))
            scale = hash_dropout(scale, dropout_rate, seeds)
        found = jnp.take(ratios * weights, text.ids, axis=0)
        return jnp.einsum("bl,blc->bc", scale, found) + bias


def log_ratios(
    tokens: Int[np.ndarray, "text length"],
    labels: Int[np.ndarray, " text"],
    vocabulary: int,
    classes: int,
    smoothing: float = 1.0,
) -> Ratios:
    """Computes for each feature and class the logarithm of its share of the class's features over
    its share of the others' (Wang & Manning 2012, section 2.1).

    tokens: the features that each text has; below 0: padding.
    """
    counts = np.zeros((vocabulary, classes))
    for label in range(classes):
        own = tokens[labels == label]
        counts[:, label] = np.bincount(own[own >= 0], minlength=vocabulary)
    others = counts.sum(1, keepdims=True) - counts
    counts, others = counts + smoothing, others + smoothing
    shares = np.log(counts / counts.sum(0)) - np.log(others / others.sum(0))
    return shares.astype(np.float32)
