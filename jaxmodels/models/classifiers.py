"""The classifiers of images, and the options of each."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models.cnn import CNNConfig
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.models.mlp import MLPConfig
from jaxmodels.models.options import chosen_options, with_options
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.vit import ViTConfig


@dataclass(frozen=True, kw_only=True)
class ClassifierModels:
    """Classifiers of images. Each has a method `features`, which gives the input of its head."""

    model: str = "cnn"
    """Architecture: mlp, cnn, resnet, efficientnet or vit."""
    mlp: MLPConfig = field(default_factory=MLPConfig)
    cnn: CNNConfig = field(default_factory=CNNConfig)
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    efficientnet: EfficientNetConfig = field(default_factory=EfficientNetConfig)
    vit: ViTConfig = field(default_factory=ViTConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        chosen_options(self).validate()

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen classifier.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(classes, dtype)


def create_model(
    name: str, classes: int, dtype: DTypeLike = jnp.float32, **options: Any
) -> nn.Module:
    """Creates the named classifier with options of its Config.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    return with_options(ClassifierModels(model=name), **options).create(classes, dtype)
