"""The names of EfficientNet-Lite's published weights, those of efficientnet_lite_pytorch."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.models.efficientnet import (
    IMAGE_SIZES,
    VARIANTS,
    EfficientNetConfig,
    blocks_of,
    stages_of,
)
from jaxmodels.pretrained import Entry, Published, Weights, labels
from jaxmodels.pretrained.images import Expected
from jaxmodels.pretrained.names import BATCH_COUNT, batch_norm, convolution, linear

STYLES = ("efficientnet_lite_pytorch",)


def is_published(weights: Weights) -> bool:
    """Whether these are weights of an EfficientNet without squeeze-and-excitation."""
    has = {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight"} <= weights.keys()
    return has and not any("._se_" in name for name in weights)


def published(
    config: EfficientNetConfig, names: Collection[str] = (), style: str = STYLES[0]
) -> Published:
    """Makes the table of names of an `EfficientNet`; there is one style of them."""
    entries: list[Entry] = []
    norms: list[str] = []
    for convolved, normalized, path in _pairs(config.variant):
        entries += convolution(convolved, f"{path}/conv", bias=False)
        entries += batch_norm(normalized, f"{path}/norm")
        norms.append(normalized)
    entries += linear("_fc", "head", outside=True)
    return Published(
        tuple(entries),
        ignored=(rf"\.{BATCH_COUNT}$",),
        constants={f"{norm}.{BATCH_COUNT}": np.zeros((), np.int64) for norm in norms},
    )


def _pairs(variant: str) -> Iterator[tuple[str, str, str]]:
    """Yields the names of each convolution and of its norm, and the path of both in our tree."""
    yield "_conv_stem", "_bn0", "stem"
    for path, stage, _ in blocks_of(stages_of(variant)):
        name = path.replace("block_", "_blocks.")
        if stage.expansion > 1:
            yield f"{name}._expand_conv", f"{name}._bn0", f"{path}/expand"
        yield f"{name}._depthwise_conv", f"{name}._bn1", f"{path}/depthwise"
        yield f"{name}._project_conv", f"{name}._bn2", f"{path}/project"
    yield "_conv_head", "_bn1", "top"


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Tells the variant by the shapes of weights, as flags of `EfficientNetConfig`, with "model".

    Raises:
      InputError: they are those of no variant.
    """
    suffix = "._project_conv.weight"
    found = {name: weights[name].shape[0] for name in weights if name.endswith(suffix)}
    for variant in VARIANTS:
        widths = {
            path.replace("block_", "_blocks.") + suffix: stage.width
            for path, stage, _ in blocks_of(stages_of(variant))
        }
        if widths == found:
            return {"model": "efficientnet", "variant": variant}
    raise InputError(
        f"{weights.path} has {len(found)} blocks of other widths; expected EfficientNet-Lite's:"
        f" {', '.join(VARIANTS)}"
    )


def published_config(
    config: EfficientNetConfig, classes: Sequence[str], channels: int = 3, style: str = STYLES[0]
) -> dict[str, Any]:
    """Makes the config.json beside weights, of which efficientnet_lite_pytorch has none: the
    variant and the names of the classes. Channels are those of the first kernel."""
    return {"model_type": f"efficientnet_{config.variant}", **labels(classes)}


def usual_images(weights: Weights) -> Expected:
    """Returns the images of the published training: pixels of 0..255 less 127, by 128."""
    variant = flags_from_published(weights)["variant"]
    return Expected((127 / 255,) * 3, (128 / 255,) * 3, IMAGE_SIZES[variant])
