"""Training steps of detectors in ours, torchvision and transformers, for
experiments.benchmarks.detection.

All learn from the same pictures of one size with random boxes, in a new random order, which lie in
memory; pixels are brought to mean 0 at each step, and nothing is augmented. Ours is the network and
the loss of `experiments.detection`, without its average of parameters. AdamW updates all.
`torch_detectors` says what the peers' networks differ in.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.torch_detectors import (
    DETRSizes,
    Pixels,
    count_parameters,
    count_torch_operations,
    detr_labels,
    torchvision_fcos,
    transformers_detr,
)

Block = Callable[[int], None]
CLASSES = 3
DECAY = 0.05
PIXELS = Pixels((0.737, 0.696, 0.715), (0.061, 0.102, 0.076))  # of BCCD
# What a peer found, for `alternate`.
FACTS: dict[str, int] = {}


class Task(NamedTuple):
    """A detector and its batches."""

    model: str  # fcos or detr
    batch: int
    size: tuple[int, int] = (240, 320)  # height and width
    count: int = 64  # pictures in memory
    objects: tuple[int, int] = (6, 20)  # of a picture, at least and at most
    width: int = 64  # of fcos
    depth: int = 2
    detr: DETRSizes = DETRSizes()
    rate: float = 1e-3
    clip: float = 0.0
    divisible: int = 16

    @property
    def most(self) -> int:
        """Boxes for which a row has room."""
        return self.objects[1]

    def columns(self) -> dict[str, np.ndarray]:
        """Draws pictures with boxes."""
        draw = np.random.default_rng(0)
        height, width = self.size
        sides = np.array([width, height], np.float32)
        low = draw.uniform(0, 0.7, (self.count, self.most, 2)) * sides
        high = low + draw.uniform(0.1, 0.3, low.shape) * sides
        labels = draw.integers(0, CLASSES, (self.count, self.most), np.int32)
        counts = draw.integers(self.objects[0], self.most + 1, (self.count, 1))
        there = np.arange(self.most) < counts
        return {
            "image": draw.integers(0, 256, (self.count, height, width, 3), np.uint8),
            "boxes": np.where(there[..., None], np.concatenate([low, high], -1), 0).astype("f4"),
            "labels": np.where(there, labels, -1),
            "crowd": np.zeros(there.shape, bool),
        }


_TINY: dict[str, Any] = {"batch": 2, "size": (64, 64), "count": 4, "objects": (1, 3)}
TASKS = {
    # The preset bccd.
    "fcos": Task("fcos", 16),
    # As Carion et al. 2020 train, on a ResNet-18.
    "detr": Task("detr", 4, rate=1e-4, clip=0.1),
    # For trials of the benchmark.
    "tiny-fcos": Task("fcos", width=16, depth=1, **_TINY),
    "tiny-detr": Task("detr", detr=DETRSizes(1, 16, 2, 16, 5), **_TINY),
}


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    return _our_block(TASKS[name])


def ours_centre(name: str) -> Block:
    """Runs our engine with the assignment and the loss of torchvision's FCOS."""
    return _our_block(TASKS[name], assignment="centre", class_loss="focal")


def our_objective(task: Task, **flags: Any) -> Any:
    """Makes our objective of a task, which takes pictures as they are stored."""
    from experiments.detection import DetectionConfig, make_detection
    from jaxmodels.data.images.normalization import Normalization
    from jaxmodels.objectives.preprocessing import with_preprocessing
    from jaxmodels.train import configure

    if task.model == "fcos":
        sizes: dict[str, Any] = {"width": task.width, "depth": task.depth}
    else:
        layers = {"encoder_layers": task.detr.layers, "decoder_layers": task.detr.layers}
        names = ("width", "heads", "hidden", "queries")
        sizes = {"backbone": "resnet18", **layers}
        sizes |= {name: getattr(task.detr, name) for name in names}
    update = {"learning_rate": task.rate, "weight_decay": DECAY, "clip": task.clip, "ema": 0.0}
    config = configure(DetectionConfig(), model=task.model, **sizes, **update, **flags)
    normalization = Normalization(*(tuple(255 * v for v in values) for values in PIXELS))

    def prepare(batch, key):
        return {**batch, "image": normalization(batch["image"])}

    return with_preprocessing(make_detection(config, CLASSES, task.most), prepare)


def _our_block(task: Task, **flags: Any) -> Block:
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data.resident import Resident

    source: Any = Resident(task.columns())
    step = EngineStep(our_objective(task, **flags), source, task.batch, length=20)
    program = step.program()
    FACTS.update(step.sizes(program))
    return step.block(program)


def torch_eager(name: str) -> Block:
    """Runs torchvision's or transformers' detector in PyTorch eager."""
    return _torch_block(TASKS[name])


def torch_channels_last(name: str) -> Block:
    """Runs torch_eager with convolutions in the order that they are fastest in."""
    return _torch_block(TASKS[name], channels_last=True)


def torch_compiled(name: str) -> Block:
    """Runs torch_channels_last with torch.compile over the network. Matching objects stays as it
    is: its shapes change at every step, and it asks for numbers in between."""
    return _torch_block(TASKS[name], channels_last=True, compiled=True)


def torch_loss(task: Task) -> tuple[Any, Callable[[Any, list[Any]], Any]]:
    """Makes a model in PyTorch, and the function of pictures [batch, 3, height, width] in 0..1 and
    of the labels of each that computes its loss."""
    import torch

    if task.model == "fcos":
        # Ours need no multiple of 32; of 16 they fill up nothing.
        sizes = {"width": task.width, "depth": task.depth, "divisible": task.divisible}
        fcos = torchvision_fcos(CLASSES, task.size, PIXELS, **sizes)
        return fcos, lambda images, labels: sum(fcos(list(images), labels).values())
    detr = transformers_detr(CLASSES, task.detr)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXELS)
    return detr, lambda images, labels: detr((images - mean) / std, labels=labels).loss


def torch_labels(task: Task) -> list[dict[str, Any]]:
    """Makes the labels of all pictures, as the task's model takes them."""
    import torch

    columns, found = task.columns(), []
    for boxes, labels in zip(columns["boxes"], columns["labels"]):
        there = labels >= 0
        kept = torch.tensor(boxes[there]), torch.tensor(labels[there], dtype=torch.int64)
        if task.model == "detr":
            found.append(detr_labels(*kept, task.size))
        else:
            found.append(dict(zip(("boxes", "labels"), kept)))
    return found


def _torch_block(task: Task, channels_last: bool = False, compiled: bool = False) -> Block:
    import torch

    torch.manual_seed(0)
    model, loss_of = torch_loss(task)
    model.train()
    labels = torch_labels(task)
    images = torch.tensor(task.columns()["image"]).permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.rate, weight_decay=DECAY, fused=True)

    def step() -> Any:
        rows = torch.randint(task.count, (task.batch,))
        loss = loss_of(images[rows].float() / 255, [labels[row] for row in rows.tolist()])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if task.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), task.clip)
        optimizer.step()
        return loss

    FACTS["parameters"] = count_parameters(model)
    FACTS["flops"] = count_torch_operations(step)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if compiled:
        _compile(model, task)

    def block(steps: int) -> None:
        for _ in range(steps):
            loss = step()
        loss.item()

    return block


def _compile(model: Any, task: Task) -> None:
    """Compiles the network without its loss."""
    if task.model == "detr":
        model.model.compile()
        return
    for part in (model.backbone, model.head.classification_head, model.head.regression_head):
        part.compile()
