"""Lets torchvision be imported beside a torch that it was not built for.

Wheels of torchvision link to one build of torch, and its import fails beside another, since its
compiled operators do not load. Of these, detectors need the suppression of overlapping boxes, which
stands here in PyTorch.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The operators vanish with the library object that defined them.
_definitions = []


def allow_torchvision() -> None:
    """Call before importing what imports torchvision. Idempotent.

    Does nothing where torch or torchvision is absent, or where torchvision imports by itself.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision")):
        return
    torch = importlib.import_module("torch")
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _definitions.append(library)
        importlib.import_module("torchvision")
        importlib.import_module("torchvision.ops.boxes").nms = kept_boxes


def kept_boxes(
    boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float
) -> "torch.Tensor":
    """Returns the rows that non-maximum suppression keeps, the surest first, as
    `torchvision.ops.nms` does.

    boxes: [n, 4]: x0, y0, x1, y1. scores: [n].
    iou_threshold: an overlap above it with a surer box that is kept removes a box.
    """
    from torchvision.ops.boxes import box_iou

    order = scores.argsort(descending=True, stable=True)
    suppresses = (box_iou(boxes[order], boxes[order]) > iou_threshold).cpu().numpy()
    kept, gone = [], suppresses.any(0) & False
    for row in range(len(order)):
        if not gone[row]:
            kept.append(row)
            gone |= suppresses[row]
    return order[kept]
