"""Dropout whose noise does not depend on the number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxmodels import across
from jaxmodels.protocol import example_keys

Rate = Float[Array, ""] | float | None  # None: no dropout


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) keyed per example, so that device counts do not matter.

    The rate is an argument, not an attribute: it may be a traced hyperparameter.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *rest"], *, rate: Rate, train: bool
    ) -> Float[Array, "batch *rest"]:
        if rate is None or not train:
            return x
        keys = example_keys(self.make_rng("dropout"), across.positions(x.shape[0]))
        uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
        return jnp.where(uniform >= rate, x / (1 - rate), 0).astype(x.dtype)
