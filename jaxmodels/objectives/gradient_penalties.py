"""Penalties on how steep a discriminator is, per example; differentiable in its parameters.

The discriminator is a function from images to logits, without BatchNorm: a logit must depend on its
own image only, because the gradient of the sum of logits gives the slope at each image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Images = Float[Array, "batch height width channels"]
Discriminator = Callable[[Images], Float[Array, " batch"]]


def squared_slope(discriminator: Discriminator, images: Images) -> Float[Array, " batch"]:
    """Computes |gradient of D at x|^2.

    Half its mean over real images is R1, over fakes R2 (Mescheder et al. 2018, eq. 9 and 10).
    """
    gradient = jax.grad(lambda x: jnp.sum(discriminator(x)))(images)
    return jnp.sum(jnp.square(gradient), axis=tuple(range(1, images.ndim)))


def slope_from_one(
    discriminator: Discriminator, real: Images, fake: Images, keys: Key[Array, " batch"]
) -> Float[Array, " batch"]:
    """Computes (|gradient of D at x| - 1)^2 at a random x between a real image and a fake.

    It is the penalty of WGAN-GP (Gulrajani et al. 2017, eq. 3).
    """
    weight = jax.vmap(jax.random.uniform)(keys).reshape(-1, *[1] * (real.ndim - 1))
    square = squared_slope(discriminator, weight * real + (1 - weight) * fake)
    # The square root has no gradient at zero, so a flat discriminator would make the gradient NaN.
    is_flat = square == 0
    return jnp.square(jnp.where(is_flat, 0, jnp.sqrt(jnp.where(is_flat, 1, square))) - 1)
