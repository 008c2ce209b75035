"""ResNets as graphs of Keras."""

from collections.abc import Sequence

from jaxmodels.models.cnn_names import EPSILON, begun
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.pretrained.keras_files import KerasGraph


def keras_graph(
    config: ResNetConfig,
    classes: int,
    sides: Sequence[int | None],
    pad: int = 0,
    scaling: tuple[Sequence[float], Sequence[float]] | None = None,
) -> KerasGraph:
    """Makes the graph of a `ResNet`, from images as they are stored to logits; see
    `cnn_names.keras_graph`. Convolutions are padded as torch's, the residual branch is the first
    part of each sum and the shortcut the second."""
    sizes = config.sizes()
    width, bottleneck, stem = sizes["width"], sizes["bottleneck"], sizes["stem"]
    graph = begun("resnet", sides, pad, scaling)
    size, strides = (7, 2) if stem == "imagenet" else (3, 1)
    _convolved(graph, "stem", width, size, strides)
    x, channels = graph.add("ReLU", like="re_lu"), width
    if stem != "cifar":
        # What is below zero does not exist here, so zeros are never the maximum.
        graph.add("ZeroPadding2D", like="zero_padding2d", padding=1)
        x = graph.add("MaxPooling2D", like="max_pooling2d", pool_size=3, strides=2)
    for stage, depth in enumerate(sizes["depths"]):
        own = width * 2**stage
        out = 4 * own if bottleneck else own
        for block in range(depth):
            path, strides = f"layer{stage + 1}_{block}", 2 if stage and not block else 1
            parts = [(own, 1, 1), (own, 3, strides), (out, 1, 1)]
            parts = parts if bottleneck else [(own, 3, strides), (own, 3, 1)]
            y = x
            for part, (features, kernel, step) in enumerate(parts, 1):
                y = _convolved(graph, f"{path}/conv{part}", features, kernel, step, y)
                if part < len(parts):
                    y = graph.add("ReLU", like="re_lu")
            if channels != out or strides > 1:
                x = _convolved(graph, f"{path}/downsample", out, 1, strides, x)
            graph.add("Add", y, x)
            x, channels = graph.add("ReLU", like="re_lu"), out
    graph.add("GlobalAveragePooling2D", like="global_average_pooling2d")
    graph.dense("params/head", classes)
    return graph


def _convolved(
    graph: KerasGraph, path: str, width: int, size: int, strides: int, *inputs: str
) -> str:
    """Adds a convolution, padded by half its kernel, and BatchNorm."""
    if size > 1:
        pad = size // 2
        inputs = (graph.add("ZeroPadding2D", *inputs, like="zero_padding2d", padding=pad),)
    options = {"use_bias": False, "strides": strides}
    graph.convolution(f"params/{path}/conv", width, size, *inputs, **options)
    return graph.batch_norm(f"{path}/norm", EPSILON)
