"""Convolutions that tests run, each with its reference in `jax.lax`, and their programs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmodels.ops import conv, conv_transpose

NHWC = ("NHWC", "HWIO", "NHWC")


class Case(NamedTuple):
    transpose: bool
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: str | tuple[tuple[int, int], tuple[int, int]]
    channels: tuple[int, int]  # of one group; the CPU rules change at 2 and 8 inputs
    batch: int = 2
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def ours(self):
        function = conv_transpose if self.transpose else conv
        options = {"kernel_dilation": self.dilation, "groups": self.groups}
        return lambda x, k: function(x, k, self.strides, self.padding, **options)

    def reference(self):
        options = {"rhs_dilation": self.dilation, "dimension_numbers": NHWC}
        if not self.transpose:
            options["feature_group_count"] = self.groups
            return lambda x, k: lax.conv_general_dilated(
                x, k, self.strides, self.padding, **options
            )

        def each_group(x, kernel):
            parts = (jnp.split(array, self.groups, axis=-1) for array in (x, kernel))
            outputs = [
                lax.conv_transpose(*part, self.strides, self.padding, **options)
                for part in zip(*parts, strict=True)
            ]
            return jnp.concatenate(outputs, axis=-1)

        return each_group

    def arrays(self):
        generator = np.random.default_rng(0)
        inputs, outputs = self.channels
        x = generator.normal(size=(self.batch, *self.size, inputs * self.groups))
        kernel = generator.normal(size=(*self.kernel, inputs, outputs * self.groups))
        return jnp.asarray(x), jnp.asarray(kernel)


SMALL = [
    Case(False, (4, 5), (3, 2), (2, 1), "SAME", (3, 5)),
    Case(True, (2, 3), (2, 3), (2, 1), "SAME", (8, 4)),
]
GROUPED = [
    Case(False, (4, 5), (3, 2), (2, 1), "SAME", (2, 3), groups=2, dilation=(1, 2)),
    Case(True, (2, 3), (2, 3), (2, 1), "SAME", (1, 1), groups=3),
]
# Large enough for fewer products: at stride 1, at stride 2, and its way back.
LARGE = [
    Case(False, (6, 6), (3, 3), (1, 1), "SAME", (128, 128), 32),
    Case(False, (16, 16), (4, 4), (2, 2), "SAME", (64, 128), 16),
    Case(True, (8, 8), (4, 4), (2, 2), "SAME", (128, 64), 16),
]


def lowered(function, platform, *args):
    """The program that XLA is given on a platform, as text."""
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def operations(function, *args):
    """Which of the two ways to multiply are in the program of a CPU."""
    text = lowered(function, "cpu", *args)
    return {name for name in ("stablehlo.convolution", "dot_general") if name in text}
