"""Inverse autoregressive flows (Kingma et al. 2016)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import Dense, default_kernel_init


class MaskedDense(nn.Module):
    """A linear layer whose kernel is zero where the mask is."""

    mask: np.ndarray
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        kernel = self.param("kernel", default_kernel_init, self.mask.shape)
        bias = self.param("bias", nn.initializers.zeros, self.mask.shape[1:])
        return x.astype(self.dtype) @ (kernel * self.mask).astype(self.dtype) + bias


class InverseAutoregressiveFlow(nn.Module):
    """One step of a flow: z_i becomes sigmoid(s_i) z_i + (1 - sigmoid(s_i)) m_i.

    A masked network with one hidden layer (Germain et al. 2015) computes s_i and m_i from the z_j
    with j < i and a context. This is the numerically stable form, eqs. 13-14 and algorithm 1.
    """

    width: int = 320
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "samples batch size"], context: Float[Array, "batch features"]
    ) -> tuple[Float[Array, "samples batch size"], Float[Array, "samples batch size"]]:
        """Gives the new latents, and log |dz'/dz| per dimension."""
        size = z.shape[-1]
        # A hidden unit of degree d depends on the first d latents, and every one on the context.
        degrees, places = np.arange(self.width) % size, np.arange(1, size + 1)
        into = (degrees[None, :] >= places[:, None]).astype(np.float32)
        out = (places[None, :] > degrees[:, None]).astype(np.float32)
        hidden = MaskedDense(into, self.dtype)(z) + Dense(self.width, dtype=self.dtype)(context)
        hidden = nn.elu(hidden)
        mean = MaskedDense(out, self.dtype)(hidden).astype(jnp.float32)
        # The gates start open, so that the initial flow is close to the identity.
        gate = MaskedDense(out, self.dtype)(hidden).astype(jnp.float32) + 1.5
        kept = jax.nn.sigmoid(gate)
        return kept * z + (1 - kept) * mean, jax.nn.log_sigmoid(gate)
