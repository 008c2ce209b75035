"""Detectors of torchvision and transformers with random weights, in the sizes of ours.

`torchvision_fcos` is torchvision's FCOS on the network of `--model fcos --backbone tiny`, as near
to it as its API allows. What differs:

- Its convolutions in the pyramid and in the head have biases, and those of the pyramid no
  normalisation and no ReLU; ours have GroupNorm in place of the biases.
- It has a centre-ness, which ours takes from the scores: one more output of the last convolution.
- It multiplies distances by the stride alone and cuts them off at 0 by ReLU; ours learn a scale for
  each level and are exponentials.
- It learns places near the centres of objects, by the focal loss with targets of 1. Ours does so
  with `--assignment centre --class-loss focal`; its default aligns places with what they find.

`transformers_detr` is DETR as published, whose parameters are those of our `detr`, with the losses
of all layers (`auxiliary_loss`). What differs: with these losses transformers passes on normalised
states from layer to layer of the decoder, ours those before the normalisation, as published.
transformers freezes BatchNorm, the stem and the first stage for weights of ImageNet. Here they are
trained, as ours are.
"""

from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.torchvision_shim import allow_torchvision

WIDTHS = (24, 32, 64, 96, 128)  # of the tiny backbone at reductions of 2, 4, 8, 16 and 32
STRIDES = (8, 16, 32)
_GROUP = 8  # channels that GroupNorm normalises together
_DETECTIONS, _LEAST_SCORE, _OVERLAP = 100, 0.001, 0.6


class Pixels(NamedTuple):
    """Mean and deviation of each channel, of pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class DETRSizes(NamedTuple):
    """The sizes of a DETR; those of Carion et al. 2020 on a ResNet-18."""

    layers: int = 6  # of the encoder, and of the decoder
    width: int = 256
    heads: int = 8
    hidden: int = 2048
    queries: int = 100


def torchvision_fcos(
    classes: int,
    size: tuple[int, int],
    pixels: Pixels,
    width: int = 64,
    depth: int = 2,
    divisible: int = 32,
) -> Any:
    """Makes torchvision's FCOS, which takes pictures in 0..1 and labels from 0.

    size: height and width of all pictures.
    width, depth: channels of pyramid and head, convolutions of the head before its last.
    divisible: pictures are filled up to a multiple of it.
    """
    allow_torchvision()
    from torch import nn
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.fcos import (
        FCOS,
        FCOSClassificationHead,
        FCOSHead,
        FCOSRegressionHead,
    )
    from torchvision.ops import FeaturePyramidNetwork

    levels = {f"block_{stride}": str(number) for number, stride in enumerate(STRIDES)}
    backbone = nn.Sequential(
        IntermediateLayerGetter(tiny_backbone(), levels),
        FeaturePyramidNetwork(list(WIDTHS[-len(STRIDES) :]), width),
    )
    backbone.out_channels = width
    # Its own parts, which are replaced, normalise 32 groups.
    head = FCOSHead(32, 1, classes, 0)
    norm = partial(nn.GroupNorm, width // _GROUP)
    head.classification_head = FCOSClassificationHead(width, 1, classes, depth, norm_layer=norm)
    head.regression_head = FCOSRegressionHead(width, 1, depth, norm_layer=norm)
    return FCOS(
        backbone,
        classes,
        min_size=min(size),
        max_size=max(size),
        image_mean=list(pixels.mean),
        image_std=list(pixels.std),
        anchor_generator=AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES)),
        head=head,
        score_thresh=_LEAST_SCORE,
        nms_thresh=_OVERLAP,
        detections_per_img=_DETECTIONS,
        # Pictures have their size already.
        _skip_resize=True,
        size_divisible=divisible,
    )


def tiny_backbone() -> Any:
    """Makes the strided convolution and the residual blocks of `models.fcos.TinyBackbone`."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    def halving(inputs: int, outputs: int) -> Any:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs)
        )
        return BasicBlock(inputs, outputs, 2, shortcut)

    parts: OrderedDict[str, Any] = OrderedDict(
        stem=nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False),
        norm=nn.BatchNorm2d(WIDTHS[0]),
        relu=nn.ReLU(inplace=True),
    )
    for number, outputs in enumerate(WIDTHS[1:]):
        parts[f"block_{4 * 2**number}"] = halving(WIDTHS[number], outputs)
    backbone = nn.Sequential(parts)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def torchvision_ssdlite(classes: int) -> Any:
    """Makes torchvision's SSDlite with MobileNetV3, which resizes pictures to 320 x 320. Labels
    count from 1."""
    allow_torchvision()
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    return ssdlite320_mobilenet_v3_large(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        detections_per_img=_DETECTIONS,
    )


def transformers_detr(classes: int, sizes: DETRSizes) -> Any:
    """Makes transformers' DETR on a ResNet-18, all of which is trained."""
    allow_torchvision()
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        backbone_config=backbone,
        num_labels=classes,
        num_queries=sizes.queries,
        d_model=sizes.width,
        encoder_layers=sizes.layers,
        decoder_layers=sizes.layers,
        encoder_attention_heads=sizes.heads,
        decoder_attention_heads=sizes.heads,
        encoder_ffn_dim=sizes.hidden,
        decoder_ffn_dim=sizes.hidden,
        auxiliary_loss=True,
    )
    model = DetrForObjectDetection(config)
    _train_batch_norm(model)
    return model.requires_grad_(True)


def _train_batch_norm(module: Any) -> None:
    """Puts trained BatchNorm into the places of frozen ones."""
    from torch import nn

    for name, child in module.named_children():
        if type(child).__name__ == "DetrFrozenBatchNorm2d":
            setattr(module, name, nn.BatchNorm2d(len(child.weight)))
        else:
            _train_batch_norm(child)


def detr_labels(boxes: Any, labels: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Makes the labels of a picture for `transformers_detr`.

    boxes: tensor [object, 4], x0, y0, x1, y1 in pixels. size: height and width of the picture.
    """
    import torch

    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    low, high = boxes[:, :2] / sides, boxes[:, 2:] / sides
    return {"class_labels": labels, "boxes": torch.cat([(low + high) / 2, high - low], -1)}


def count_torch_operations(compute: Any) -> int:
    """Counts the floating-point operations of products and convolutions while compute() runs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def count_parameters(model: Any) -> int:
    """Counts the numbers that are trained."""
    return int(np.sum([p.numel() for p in model.parameters() if p.requires_grad]))
