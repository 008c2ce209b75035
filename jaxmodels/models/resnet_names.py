"""The names of ResNet's published weights, and its config.json as flags of ours.

They are those of torchvision's ResNet, which timm shares, of transformers'
ResNetForImageClassification and of a graph of Keras's layers.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from jaxmodels.errors import InputError, require_known
from jaxmodels.models import cnn_names
from jaxmodels.models.cnn_names import is_keras, require_same_layers
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.resnet_keras import keras_graph
from jaxmodels.pretrained import Entry, Published, Weights, labels, required_sizes
from jaxmodels.pretrained.images import Expected
from jaxmodels.pretrained.names import BATCH_COUNT, batch_norm, convolution, linear

STYLES = ("transformers", "torchvision")
_KIND = "resnet"
_FIXED = {
    "hidden_act": ("relu",),
    "downsample_in_first_stage": (False,),
    "downsample_in_bottleneck": (False,),
}


def is_published(weights: Weights) -> bool:
    """Whether these are weights of a ResNet."""
    if is_keras(weights):
        return True
    kind = weights.config.get("model_type", _KIND)
    has = any(name.endswith("embedder.embedder.convolution.weight") for name in weights)
    return kind == _KIND and (has or {"conv1.weight", "layer1.0.conv1.weight"} <= weights.keys())


def published(
    config: ResNetConfig, names: Collection[str] = (), style: str = STYLES[0]
) -> Published:
    """Makes the table of names of a `ResNet`.

    names: of the file that is read, which tell its style; without any, `style` is what is written.

    Raises:
      InputError: an unknown style.
    """
    require_known("style", style, STYLES)
    if "layers/conv2d/vars/0" in names:
        return keras_graph(config, 1, (None, None, 1)).published()
    if names:
        style = "torchvision" if "conv1.weight" in names else "transformers"
    sizes = config.sizes()
    entries: list[Entry] = []
    norms: list[str] = []
    for convolved, normalized, path in named_pairs(style, sizes["depths"], sizes["bottleneck"]):
        entries += convolution(convolved, f"{path}/conv", bias=False)
        entries += batch_norm(normalized, f"{path}/norm")
        norms.append(normalized)
    head = "fc" if style == "torchvision" else "classifier.1"
    entries += linear(head, "head", outside=True)
    return Published(
        tuple(entries),
        ignored=(rf"\.{BATCH_COUNT}$",),
        prefixes=("",) if style == "torchvision" else ("resnet.", ""),
        constants={f"{norm}.{BATCH_COUNT}": np.zeros((), np.int64) for norm in norms},
    )


def named_pairs(
    style: str, depths: Sequence[int], bottleneck: bool
) -> Iterator[tuple[str, str, str]]:
    """Yields the names of each convolution and of its norm, and the path of both in our tree."""
    convolutions = 3 if bottleneck else 2
    theirs = style == "transformers"
    if theirs:
        yield "embedder.embedder.convolution", "embedder.embedder.normalization", "stem"
    else:
        yield "conv1", "bn1", "stem"
    for stage, depth in enumerate(depths):
        for block in range(depth):
            path = f"layer{stage + 1}_{block}"
            name = f"encoder.stages.{stage}.layers.{block}" if theirs else path.replace("_", ".")
            for part in range(convolutions):
                if theirs:
                    layer = f"{name}.layer.{part}"
                    yield f"{layer}.convolution", f"{layer}.normalization", f"{path}/conv{part + 1}"
                else:
                    yield f"{name}.conv{part + 1}", f"{name}.bn{part + 1}", f"{path}/conv{part + 1}"
            if block == 0 and (stage or bottleneck):
                shortcut = f"{name}.shortcut" if theirs else f"{name}.downsample"
                parts = ("convolution", "normalization") if theirs else ("0", "1")
                yield f"{shortcut}.{parts[0]}", f"{shortcut}.{parts[1]}", f"{path}/downsample"


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights, or where there is none their names and shapes, as flags
    of `ResNetConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    if is_keras(weights):
        require_same_layers(weights)
        return {"model": "resnet"}  # shapes tell no stem: --variant and its options do
    if "conv1.weight" in weights:
        width, *_, size = weights["conv1.weight"].shape
        if size != 7:
            raise InputError(
                f"{weights.path}: conv1 has a kernel of {size} pixels; expected 7, torchvision's"
            )
        stages = [re.match(r"layer(\d+)\.(\d+)\.conv1\.weight$", name) for name in weights]
        numbers = [int(match[1]) for match in stages if match]
        depths = tuple(numbers.count(stage) for stage in range(1, max(numbers) + 1))
        return _flags("layer1.0.conv3.weight" in weights, depths, width)
    names = {"depths": "depths", "width": "embedding_size", "hidden": "hidden_sizes"}
    sizes = required_sizes(weights, {**names, "kind": "layer_type"}, _FIXED)
    is_bottleneck, width = sizes["kind"] == "bottleneck", sizes["width"]
    expected = [
        width * 2**stage * (4 if is_bottleneck else 1) for stage in range(len(sizes["depths"]))
    ]
    if list(sizes["hidden"]) != expected:
        raise InputError(
            f"{weights.path}: hidden_sizes = {sizes['hidden']}; expected {expected}, which double"
        )
    return _flags(is_bottleneck, tuple(sizes["depths"]), width)


def usual_images(weights: Weights) -> Expected:
    """Returns the images of the published training."""
    return cnn_names.usual_images(weights) if is_keras(weights) else Expected()


def _flags(bottleneck: bool, depths: tuple[int, ...], width: int) -> dict[str, Any]:
    variant = "50" if bottleneck else "18"
    return {"model": "resnet", "variant": variant, "depths": depths, "width": width}


def published_config(
    config: ResNetConfig, classes: Sequence[str], channels: int = 3, style: str = STYLES[0]
) -> dict[str, Any]:
    """Makes the config.json of a `ResNet`, which transformers reads; of torchvision's names, which
    have none, the classes alone.

    classes: their names.

    Raises:
      InputError: a stem that others do not have.
    """
    sizes = config.sizes()
    if sizes["stem"] != "imagenet":
        raise InputError(
            f"variant = {config.variant}; torchvision and transformers have no ResNet whose stem"
            f" is '{sizes['stem']}': export it as --format stablehlo, or train --variant 18"
        )
    if style == "torchvision":
        return {"model_type": "torchvision_resnet", **labels(classes)}
    widths = [sizes["width"] * 2**stage for stage in range(len(sizes["depths"]))]
    stages = [f"stage{number}" for number in range(1, len(widths) + 1)]
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": _KIND,
        "num_channels": channels,
        "embedding_size": sizes["width"],
        "hidden_sizes": [width * (4 if sizes["bottleneck"] else 1) for width in widths],
        "depths": list(sizes["depths"]),
        "layer_type": "bottleneck" if sizes["bottleneck"] else "basic",
        **{name: values[0] for name, values in _FIXED.items()},
        "stage_names": ["stem", *stages],
        "dtype": "float32",
        **labels(classes),
    }
