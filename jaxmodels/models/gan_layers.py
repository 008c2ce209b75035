"""Layers and sizes that the generators and discriminators share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.errors import InputError
from jaxmodels.models.layers import BatchNorm, Dense, default_kernel_init

Shape = tuple[int, int, int]  # height, width, channels
NORMS = ("none", "batch", "layer", "spectral")


def stages(shape: Shape) -> tuple[tuple[int, int], int]:
    """Gives the size of the smallest image, at most 8 pixels a side, and the number of doublings
    from it to `shape`: 8 = 2 * 2^2, 28 = 7 * 2^2, 32 = 4 * 2^3, 64 = 4 * 2^4.

    Raises:
      InputError: a size that no such image reaches by doubling.
    """
    (height, width, _), doublings = shape, 0
    while height % 2 == width % 2 == 0 and min(height, width) > (4 if doublings >= 2 else 2):
        height, width, doublings = height // 2, width // 2, doublings + 1
    if not doublings or max(height, width) > 8:
        size = max(shape[:2])
        near = min(
            (a * 2**b for a in (4, 5, 6, 7) for b in range(1, 9)), key=lambda n: abs(n - size)
        )
        raise InputError(
            f"image size {shape[0]}x{shape[1]} cannot be made by doubling one of 4 to 8 pixels;"
            f" resize the images with --image-size {near}"
        )
    return (height, width), doublings


class Normalization(nn.Module):
    """Normalisation of activations: "batch", or "layer", over all activations of an example, with
    scale and bias per channel (Gulrajani et al. 2017 advise it for gradient penalties)."""

    norm: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *rest channels"], *, train: bool) -> Array:
        if self.norm == "batch":
            return BatchNorm(dtype=self.dtype)(x, train=train)
        return nn.GroupNorm(num_groups=1, dtype=self.dtype)(x)


class Projection(nn.Module):
    """The part of a discriminator's logit that depends on the label: the inner product of features
    with an embedding of the class (Miyato & Koyama 2018, eq. 4)."""

    classes: int
    dtype: DTypeLike = jnp.float32
    kernel_init: Callable = default_kernel_init
    spectral: bool = False

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch channels"], labels: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        by_class = Dense(
            self.classes,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            spectral=self.spectral,
        )(features)
        return jnp.sum(by_class * jax.nn.one_hot(labels, self.classes, dtype=self.dtype), axis=1)
