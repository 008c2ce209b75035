"""Lets torchvision be imported beside a torch that it was not built for.

Wheels of torchvision link to one build of torch, and its import fails beside another, since its
compiled operators do not load. Nothing here runs them: torch-fidelity and pytorch-fid need only the
import to succeed.
"""

import importlib
import importlib.util

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
