"""The Inception network that defines the Fréchet Inception distance, for inference.

It is the TensorFlow graph 'inception-2015-12-05' (Inception-v3 of Szegedy et al. 2016, with an
oddity in its last block) of Heusel et al. 2017, as pytorch-fid ported it; modules and parameters
have the names of its file. `jaxmodels.models.inception_weights` loads the weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Num

from jaxmodels.errors import InputError
from jaxmodels.models.layers import Conv

# Scores must not depend on the machine, but by default GPUs multiply with 10 bits and TPUs with 7.
_PRECISION = lax.Precision.HIGHEST


class InceptionOutputs(NamedTuple):
    """The inputs of scores; torch-fidelity calls them '2048' and 'logits_unbiased'.

    features: outputs of the global average pool, for FID, KID, precision and recall.
    logits: without the bias of the last layer, which the published Inception score (Salimans et al.
      2016) leaves out.
    """

    features: Float[Array, "batch 2048"]
    logits: Float[Array, "batch 1008"]


class FIDInception(nn.Module):
    """The network: maps images [batch, height, width, 3] in 0..255 to float32 outputs.

    Round images to whole numbers for scores that equal published ones, because the original graph
    read bytes.

    Raises:
      InputError: images that do not have three channels.
    """

    @nn.compact
    def __call__(self, images: Num[Array, "*shape"]) -> InceptionOutputs:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise InputError(
                f"images of shape {images.shape}; expected [batch, height, width, 3] (repeat the"
                " one channel of grey images)"
            )
        x = (resize_as_tensorflow1(images.astype(jnp.float32)) - 128) / 128
        x = _ConvNormRelu(32, 3, 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _ConvNormRelu(32, 3, 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _ConvNormRelu(64, 3, name="Conv2d_2b_3x3")(x)
        x = _halve(x)
        x = _ConvNormRelu(80, name="Conv2d_3b_1x1")(x)
        x = _ConvNormRelu(192, 3, 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _halve(x)
        x = _BlockA(32, name="Mixed_5b")(x)
        x = _BlockA(64, name="Mixed_5c")(x)
        x = _BlockA(64, name="Mixed_5d")(x)
        x = _BlockB(name="Mixed_6a")(x)
        x = _BlockC(128, name="Mixed_6b")(x)
        x = _BlockC(160, name="Mixed_6c")(x)
        x = _BlockC(160, name="Mixed_6d")(x)
        x = _BlockC(192, name="Mixed_6e")(x)
        x = _BlockD(name="Mixed_7a")(x)
        x = _BlockE(_average, name="Mixed_7b")(x)
        # The graph takes the maximum here, and scores depend on it; the paper averages in both.
        x = _BlockE(_maximum, name="Mixed_7c")(x)
        features = jnp.mean(x, (1, 2))
        logits = nn.Dense(1008, use_bias=False, precision=_PRECISION, name="fc")(features)
        return InceptionOutputs(features, logits)


def resize_as_tensorflow1(
    images: Float[Array, "batch height width channels"], size: int = 299
) -> Float[Array, "batch size size channels"]:
    """Resizes as TensorFlow 1 did (bilinear, align_corners=False): output i is read at
    i * height / size.

    Later libraries read at (i + 1/2) * height / size - 1/2, which changes the scores. Images that
    shrink are not smoothed; images of the target size stay as they are.
    """
    for axis in (2, 1):
        count = images.shape[axis]
        # Positions are float32 as in TensorFlow, because their rounding decides between pixels.
        position = np.arange(size, dtype=np.float32) * np.float32(count / size)
        low = position.astype(np.int32)
        weight = np.expand_dims(position - low, [a for a in range(4) if a != axis])
        first = jnp.take(images, low, axis)
        second = jnp.take(images, np.minimum(low + 1, count - 1), axis)
        images = first + (second - first) * weight.astype(np.float32)
    return images


class _Norm(nn.Module):
    """Batch normalisation by stored statistics, under torch's names."""

    @nn.compact
    def __call__(self, x):
        shape = (x.shape[-1],)
        weight = self.param("weight", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("running_mean", nn.initializers.zeros, shape)
        var = self.param("running_var", nn.initializers.ones, shape)
        return (x - mean) * (weight * lax.rsqrt(var + 1e-3)) + bias


class _ConvNormRelu(nn.Module):
    """Convolution, normalisation, ReLU. "SAME" pads as torch does at unit strides only."""

    features: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        size = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        x = Conv(
            self.features,
            kernel_size=size,
            strides=(self.stride, self.stride),
            padding=self.padding,
            use_bias=False,
            precision=_PRECISION,
            name="conv",
        )(x)
        return nn.relu(_Norm(name="bn")(x))


def _chain(x, name: str, *layers: tuple):
    """Applies layers named `name`_1, `name`_2, ... one after another."""
    for number, layer in enumerate(layers, 1):
        x = _ConvNormRelu(*layer, name=f"{name}_{number}")(x)
    return x


def _join(*branches):
    return jnp.concatenate(branches, -1)


def _halve(x):
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")


def _maximum(x):
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


def _average(x):
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


class _BlockA(nn.Module):
    pool_features: int

    @nn.compact
    def __call__(self, x):
        return _join(
            _ConvNormRelu(64, name="branch1x1")(x),
            _chain(x, "branch5x5", (48,), (64, 5)),
            _chain(x, "branch3x3dbl", (64,), (96, 3), (96, 3)),
            _ConvNormRelu(self.pool_features, name="branch_pool")(_average(x)),
        )


class _BlockB(nn.Module):
    @nn.compact
    def __call__(self, x):
        return _join(
            _ConvNormRelu(384, 3, 2, "VALID", name="branch3x3")(x),
            _chain(x, "branch3x3dbl", (64,), (96, 3), (96, 3, 2, "VALID")),
            _halve(x),
        )


class _BlockC(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        narrow, row, column = self.width, (1, 7), (7, 1)
        return _join(
            _ConvNormRelu(192, name="branch1x1")(x),
            _chain(x, "branch7x7", (narrow,), (narrow, row), (192, column)),
            _chain(
                x,
                "branch7x7dbl",
                (narrow,),
                (narrow, column),
                (narrow, row),
                (narrow, column),
                (192, row),
            ),
            _ConvNormRelu(192, name="branch_pool")(_average(x)),
        )


class _BlockD(nn.Module):
    @nn.compact
    def __call__(self, x):
        return _join(
            _chain(x, "branch3x3", (192,), (320, 3, 2, "VALID")),
            _chain(x, "branch7x7x3", (192,), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "VALID")),
            _halve(x),
        )


class _BlockE(nn.Module):
    pool: Callable

    @nn.compact
    def __call__(self, x):
        row, column = (1, 3), (3, 1)
        single = _ConvNormRelu(384, name="branch3x3_1")(x)
        double = _chain(x, "branch3x3dbl", (448,), (384, 3))
        return _join(
            _ConvNormRelu(320, name="branch1x1")(x),
            _ConvNormRelu(384, row, name="branch3x3_2a")(single),
            _ConvNormRelu(384, column, name="branch3x3_2b")(single),
            _ConvNormRelu(384, row, name="branch3x3dbl_3a")(double),
            _ConvNormRelu(384, column, name="branch3x3dbl_3b")(double),
            _ConvNormRelu(192, name="branch_pool")(self.pool(x)),
        )
