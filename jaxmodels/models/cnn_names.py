"""The CNN as a graph of Keras, whose weights lie under names that its classes and order make."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models.cnn import CNNConfig
from jaxmodels.pretrained import Published, Weights
from jaxmodels.pretrained.images import Expected
from jaxmodels.pretrained.keras_files import KerasGraph, layers_in

EPSILON = 1e-5  # of BatchNorm here; Keras's own is 1e-3
_CONVOLUTION = re.compile(r"layers/conv2d(_\d+)?/vars/0")
_DENSE = re.compile(r"layers/dense(_\d+)?/vars/0")


def is_published(weights: Weights) -> bool:
    """Whether these are Keras's weights of 3x3 convolutions and linear layers."""
    convolved = _kernels(weights, _CONVOLUTION)
    return bool(convolved) and all(shape[:2] == (3, 3) for shape in convolved)


def is_keras(weights: Weights) -> bool:
    """Whether Keras has written these weights."""
    return any(_CONVOLUTION.fullmatch(name) for name in weights)


def published(config: CNNConfig, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `CNN`; `names`, of the file, do not matter."""
    return keras_graph(config, 1, (1, 1, 1)).published()


def keras_graph(
    config: CNNConfig,
    classes: int,
    sides: Sequence[int],
    pad: int = 0,
    scaling: tuple[Sequence[float], Sequence[float]] | None = None,
) -> KerasGraph:
    """Makes the graph, from images as they are stored to logits.

    sides: height, width and channels of images. pad, scaling: what comes before the network, as in
      `begun`.
    """
    graph = begun("cnn", sides, pad, scaling)
    least = min(sides[:2]) + 2 * pad
    for index, width in enumerate(config.channels):
        norm = config.batch_norm
        graph.convolution(f"params/Conv_{index}", width, 3, padding="same", use_bias=not norm)
        if norm:
            graph.batch_norm(f"BatchNorm_{index}", EPSILON)
        graph.add("ReLU", like="re_lu")
        if least >= 2:
            graph.add("MaxPooling2D", like="max_pooling2d")
            least //= 2
    graph.add("Flatten")
    for index, width in enumerate(config.hidden):
        graph.dense(f"params/Dense_{index}", width)
        graph.add("ReLU", like="re_lu")
    graph.dense(f"params/Dense_{len(config.hidden)}", classes)
    return graph


def begun(
    name: str,
    sides: Sequence[int | None],
    pad: int,
    scaling: tuple[Sequence[float], Sequence[float]] | None,
) -> KerasGraph:
    """Begins a graph with what an image needs before a network.

    pad: black pixels on each side. scaling: factor and shift of the pixels of each channel.
    """
    graph = KerasGraph(name, sides)
    if pad:
        graph.add("ZeroPadding2D", like="zero_padding2d", padding=pad)
    if scaling is not None:
        scale, offset = (list(map(float, values)) for values in scaling)
        graph.add("Rescaling", scale=scale, offset=offset)
    return graph


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the shapes of weights as flags of `CNNConfig`, with "model".

    Raises:
      InputError: the graph beside them has another BatchNorm or activation than the network here.
    """
    require_same_layers(weights)
    normed = "layers/batch_normalization/vars/0" in weights
    return {
        "model": "cnn",
        "channels": tuple(shape[-1] for shape in _kernels(weights, _CONVOLUTION)),
        "hidden": tuple(shape[-1] for shape in _kernels(weights, _DENSE)[:-1]),
        "batch_norm": normed,
    }


def require_same_layers(weights: Weights) -> None:
    """Requires of the graph beside weights, where there is one, what no array tells.

    Raises:
      InputError: BatchNorm with another epsilon, or an activation that is not ReLU.
    """
    for norm in layers_in(weights.config, "BatchNormalization"):
        if not 0.99 * EPSILON < norm.get("epsilon", 1e-3) < 1.01 * EPSILON:
            raise InputError(
                f"{weights.path}: BatchNormalization has epsilon = {norm.get('epsilon', 1e-3)};"
                f" expected {EPSILON}, which is all that the network has here"
            )
    layers = layers_in(weights.config, "Conv2D") + layers_in(weights.config, "Dense")
    for layer in layers:
        if layer.get("activation", "linear") not in ("linear", "relu", "softmax"):
            raise InputError(
                f"{weights.path}: a layer has activation = {layer['activation']}; expected relu,"
                " which is all that the network has here"
            )


def usual_images(weights: Weights) -> Expected:
    """Returns the images that the graph expects: how its Rescaling scales pixels of 0..255, or as
    the training split says."""
    shapes = [layer.get("batch_shape") for layer in layers_in(weights.config, "InputLayer")]
    size = (shapes[0] or [0, 0])[1] if shapes else 0
    none = Expected((), (), size or 0)
    for layer in layers_in(weights.config, "Rescaling")[:1]:
        scale, offset = (layer.get(name) for name in ("scale", "offset"))
        if isinstance(scale, list) and isinstance(offset, list):
            mean = tuple(-shift / factor / 255 for factor, shift in zip(scale, offset))
            return none._replace(mean=mean, std=tuple(1 / factor / 255 for factor in scale))
    return none


def _kernels(weights: Weights, pattern: re.Pattern) -> list[tuple[int, ...]]:
    """Lists the shapes of all kernels of a kind, in their order."""
    found = [(name, pattern.fullmatch(name)) for name in weights]
    numbered = [(int((match[1] or "_0")[1:]), name) for name, match in found if match]
    return [weights[name].shape for _, name in sorted(numbered)]
