"""The classifiers of images, and the options of each."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models import cnn_names, efficientnet_names, resnet_names, vit_names
from jaxmodels.models.cnn import CNNConfig
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.models.mlp import MLPConfig
from jaxmodels.models.options import chosen_options, validate_options, with_options
from jaxmodels.models.published import names_of_chosen, table_of
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.vit import ViTConfig
from jaxmodels.pretrained.images import Expected, class_names, expected_images
from jaxmodels.pretrained.names import Published
from jaxmodels.pretrained.weights import Weights


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
        validate_options(self)

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen classifier.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(classes, dtype)


# Tables of names, by model.
PUBLISHED = {
    "cnn": cnn_names,
    "resnet": resnet_names,
    "efficientnet": efficientnet_names,
    "vit": vit_names,
}
_EXPECTED = "transformers, torchvision, timm, efficientnet_lite_pytorch or Keras"


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads published weights as flags: the model, and its options.

    Raises:
      InputError: they are of no classifier here, or of one with other parts.
    """
    return table_of(PUBLISHED, weights, _EXPECTED).flags_from_published(weights)


def images_of_published(weights: Weights) -> Expected:
    """Returns what images published weights expect.

    Raises:
      InputError: as `flags_from_published`.
    """
    usual = getattr(table_of(PUBLISHED, weights, _EXPECTED), "usual_images", lambda _: Expected())
    return expected_images(weights, usual(weights))


def classes_of_published(models: ClassifierModels, weights: Weights) -> tuple[str, ...]:
    """Names the classes of published weights; see `class_names`."""
    return class_names(weights, published_names(models, weights))


def published_names(models: ClassifierModels, weights: Weights) -> Published:
    """Makes the table of names of the chosen model for the weights of a file.

    Raises:
      InputError: a model that nobody publishes.
    """
    return names_of_chosen(PUBLISHED, models, weights)


def create_model(
    name: str, classes: int, dtype: DTypeLike = jnp.float32, **options: Any
) -> nn.Module:
    """Creates the named classifier with options of its Config.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    return with_options(ClassifierModels(model=name), **options).create(classes, dtype)
