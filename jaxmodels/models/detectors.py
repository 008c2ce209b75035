"""The detectors, and the options of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError
from jaxmodels.models import classifiers, detr_names
from jaxmodels.models.detr import DETRConfig
from jaxmodels.models.dn_detr import DNDETRConfig
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.models.fcos import LITES, RESNETS, FCOSConfig
from jaxmodels.models.options import chosen_options, validate_options
from jaxmodels.models.resnet import VARIANTS, ResNetConfig
from jaxmodels.pretrained import Published, Weights
from jaxmodels.pretrained.images import Expected, expected_images
from jaxmodels.pretrained.names import Entry

_BACKBONE = "backbone"  # the module's name in a detector


@dataclass(frozen=True, kw_only=True)
class DetectionModels:
    """Detectors of objects in pictures."""

    model: str = "fcos"
    """Architecture: fcos, dense and without anchors; detr, which finds a set of objects, as
    published; or dn_detr, which does so from few pictures."""
    fcos: FCOSConfig = field(default_factory=FCOSConfig)
    detr: DETRConfig = field(default_factory=DETRConfig)
    dn_detr: DNDETRConfig = field(default_factory=DNDETRConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        validate_options(self)

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen detector.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(classes, dtype)


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads published weights as flags: those of a DETR, or of a classifier, which is a backbone.

    Raises:
      InputError: they are of no backbone here.
    """
    if detr_names.is_published(weights):
        return detr_names.flags_from_published(weights)
    found = classifiers.flags_from_published(weights)
    if found["model"] == "efficientnet":
        return {"backbone": found["variant"]}
    if found["model"] == "resnet":
        depths = tuple(found["depths"])
        for name, variant in RESNETS.items():
            same = VARIANTS[variant]["depths"] == depths
            if same and bool(VARIANTS[variant].get("bottleneck")) == (found["variant"] == "50"):
                return {"backbone": name}
    raise InputError(
        f"{weights.path} holds weights of {found['model']}; expected a DETR, a ResNet, of"
        f" {', '.join(RESNETS)}, or an EfficientNet-Lite, of {', '.join(LITES)}"
    )


def images_of_published(weights: Weights) -> Expected:
    """Returns what images published weights expect; the size of a DETR's is their shorter side.

    Raises:
      InputError: they are of no backbone here.
    """
    if detr_names.is_published(weights):
        return expected_images(weights, Expected(size=detr_names.SHORTER_SIDE))
    return classifiers.images_of_published(weights)


def published_names(models: DetectionModels, weights: Weights) -> Published:
    """Makes the table of names of a published DETR, or of a classifier, whose arrays fill the
    backbone.

    Raises:
      InputError: a backbone that nobody publishes.
    """
    chosen: Any = chosen_options(models)
    if models.model == "detr" and (not weights or detr_names.is_published(weights)):
        return detr_names.published(models.detr, weights)
    backbone = chosen.backbone
    options: Any
    if backbone in LITES:
        options = EfficientNetConfig(variant=LITES[backbone])
        table = classifiers.PUBLISHED["efficientnet"].published(options, weights)
    elif backbone in RESNETS:
        options = ResNetConfig(variant=RESNETS[backbone])
        table = classifiers.PUBLISHED["resnet"].published(options, weights)
    else:
        raise InputError(
            f"backbone = {backbone}; nobody publishes its weights: expected"
            f" {', '.join([*RESNETS, *LITES])}"
        )
    entries = tuple(
        replace(entry, paths=tuple(map(_in_backbone, entry.paths))) for entry in table.entries
    )
    return replace(table, entries=entries)


def _in_backbone(path: str) -> str:
    collection, _, rest = path.partition("/")
    return f"{collection}/{_BACKBONE}/{rest}"


def own_names(arrays: Mapping[str, Any]) -> Published:
    """Makes a table of names of our own, for models that nobody else has: params/head/logits/bias
    is published as head.logits.bias.

    arrays: by their paths.
    """
    entries = (Entry(path.partition("/")[2].replace("/", "."), (path,)) for path in arrays)
    return Published(tuple(entries))
