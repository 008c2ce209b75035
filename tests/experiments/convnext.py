"""A ConvNeXt (Liu et al. 2022) for the classifier of images: python convnext.py --data ./photos"""

import sys
from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn

from experiments.classifier import ClassifierConfig, ClassifierModels, build
from jaxmodels.models.layers import Conv, Dense, LayerNorm
from jaxmodels.train import ModelSection, main


@dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig:
    widths: tuple[int, ...] = (16, 16, 32, 32)
    """Width of each block; where it changes, both sides are halved."""

    def create(self, classes, dtype=jnp.float32):
        return ConvNeXt(classes, self.widths, dtype)


class ConvNeXt(nn.Module):
    classes: int
    widths: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, *, train=False, head=True):
        for block, width in enumerate(self.widths):
            if width != x.shape[-1]:
                halve = Conv(width, (2, 2), strides=2, dtype=self.dtype)
                x = halve(LayerNorm()(x)) if block else LayerNorm()(halve(x))
            h = Conv(width, (7, 7), feature_group_count=width, dtype=self.dtype)(x)
            h = nn.gelu(Dense(4 * width, dtype=self.dtype)(LayerNorm()(h)))
            scale = self.param(f"scale_{block}", nn.initializers.constant(1e-6), (width,))
            x += scale * Dense(width, dtype=self.dtype)(h)
        x = LayerNorm()(x.mean((1, 2)))
        return Dense(self.classes, dtype=self.dtype)(x) if head else x

    def features(self, x):
        return self(x, head=False)


@dataclass(frozen=True, kw_only=True)
class Models(ClassifierModels):
    model: str = "convnext"
    convnext: ConvNeXtConfig = ConvNeXtConfig()


@dataclass(frozen=True, kw_only=True)
class ConvNeXtExperiment(ClassifierConfig):
    experiment = "convnext"
    model: ModelSection[Models] = Models()


if __name__ == "__main__":
    sys.exit(main(ConvNeXtExperiment, build))
