"""A classifier of images as a folder that transformers, torchvision or timm read: weights under
published names, a config.json, and what an image needs before the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.exports.common import names_of
from experiments.parts.published_images import white_of
from jaxmodels.data.images import ImageData
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError, require_known
from jaxmodels.files import write_json
from jaxmodels.models import efficientnet_names, resnet_names, vit_names
from jaxmodels.models.classifiers import ClassifierModels
from jaxmodels.models.options import chosen_options
from jaxmodels.objectives.descent import learned_of
from jaxmodels.pretrained import save
from jaxmodels.protocol import State

_CLASSIFIERS = {"resnet": resnet_names, "efficientnet": efficientnet_names, "vit": vit_names}


def export_classifier(
    models: ClassifierModels,
    data: ImageData,
    normalization: Normalization,
    sides: Sequence[int],
    naming: str,
    state: State,
    output: Path,
) -> None:
    """Writes the folder of a classifier, of the averaged weights where there are some.

    normalization: of images as they are stored. sides: height, width and channels of the images
    that the network sees. naming: whose names and config.json; empty: the first that can have the
    model.

    Raises:
      InputError: a model, or options of it, that others do not have.
    """
    names = names_of(models.model, _CLASSIFIERS)
    style = naming or _style_of(models)
    require_known("naming", style, names.STYLES)
    options, (height, width, channels) = chosen_options(models), sides
    arguments: dict[str, Any] = {"channels": channels, "style": style}
    table: dict[str, Any] = {"style": style}
    if models.model == "vit":
        if height != width:
            raise InputError(
                f"images of {height}x{width} pixels; {style} has ViTs of square images only"
            )
        arguments["image_size"] = table["image_size"] = height
    config = names.published_config(options, data.class_names, **arguments)
    processor = _processor(white_of(data), normalization, height, width)
    if style == "timm":
        config["pretrained_cfg"] = {
            "input_size": [channels, height, width],
            "num_classes": len(data.class_names),
            "mean": processor["image_mean"],
            "std": processor["image_std"],
            "label_names": list(data.class_names),
        }
    save(
        output,
        learned_of(state, "batch_stats"),
        names.published(options, **table),
        config,
        beside=lambda folder: write_json(folder / "preprocessor_config.json", processor, 2),
    )


def _style_of(models: ClassifierModels) -> str:
    """Names whose layout can hold the chosen model."""
    if models.model == "efficientnet":
        return efficientnet_names.STYLES[0]
    sizes = models.vit.sizes() if models.model == "vit" else {}
    return "timm" if sizes.get("pool") == "mean" else "transformers"


def _processor(
    largest: float, normalization: Normalization, height: int, width: int
) -> dict[str, Any]:
    """Describes how an image becomes an input, as transformers' ViTImageProcessor does it.

    largest: the pixel that it scales to 1 first.
    """
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / largest,
        "do_normalize": True,
        "image_mean": [mean / largest for mean in normalization.mean],
        "image_std": [std / largest for std in normalization.std],
    }
