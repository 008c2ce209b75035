"""The training step of residual networks in ours, Flax and PyTorch, for
experiments.benchmarks.convolution and experiments.benchmarks.accelerator.

"18" is ResNet-18 for images of 28x28x1, with the stem for small images (a 3x3 convolution and no
pooling), batch 128, float32; "50" is ResNet-50 for images of 224x224x3, whose activations are
bfloat16; "50:64" is the same with batches of 64. All are trained by SGD with momentum 0.9 and see a
new batch in random order at every step. Ours holds the images as uint8 and normalises each batch;
so does PyTorch with the large images, otherwise PyTorch and Flax hold them normalised.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.benchmarks.classifier_peers import Task
from experiments.benchmarks.convolution_peers import BATCH, LAYERS
from experiments.benchmarks.torch_device import autocast, synchronize, torch_device

if TYPE_CHECKING:
    from torch import nn

    from experiments.benchmarks.engine_block import EngineStep

Block = Callable[[int], None]


class Network(NamedTuple):
    """A residual network and its data."""

    task: Task
    depths: tuple[int, ...]
    width: int = 64
    bottleneck: bool = False
    large: bool = False  # 7x7 stem with pooling, bfloat16, images held as uint8
    classes: int = 10

    @property
    def widths(self) -> list[int]:
        """Channels of the 3x3 convolutions of each stage."""
        return [self.width * 2**stage for stage in range(len(self.depths))]

    def options(self) -> dict:
        """Returns the options of our module."""
        stem = "imagenet" if self.large else "cifar"
        names = ("depths", "width", "bottleneck", "classes")
        return {"stem": stem, **{name: getattr(self, name) for name in names}}


NETWORKS = {
    "18": Network(Task((28, 28, 1), BATCH, 40 * BATCH, 0.1, 0.9), (2, 2, 2, 2)),
    "50": Network(
        Task((224, 224, 3), 128, 8 * 128, 0.1, 0.9),
        (3, 4, 6, 3),
        bottleneck=True,
        large=True,
        classes=1000,
    ),
    # For trials of the benchmarks.
    "tiny": Network(Task((8, 8, 1), 16, 64, 0.1, 0.9), (1, 1), width=8),
    "tiny50": Network(
        Task((32, 32, 3), 8, 32, 0.1, 0.9), (1, 1), width=8, bottleneck=True, large=True
    ),
}


def network_of(name: str) -> Network:
    """Finds the network of a task such as "50", or "50:64" with batches of 64."""
    name, _, batch = name.partition(":")
    network = NETWORKS[name]
    return network._replace(task=network.task._replace(batch=int(batch))) if batch else network


def flops(_: str) -> int:
    """Counts the operations of a step of ResNet-18: convolutions and the linear layer."""
    total = LAYERS["ResNet-18 stem"].flops() + 3 * 2 * BATCH * NETWORKS["18"].widths[-1] * 10
    for stage in range(1, 5):
        name = f"ResNet-18 layer{stage}"
        first = (name,) if stage == 1 else (f"{name}.0", f"{name}.0 1x1")
        total += 3 * LAYERS[name].flops() + sum(LAYERS[other].flops() for other in first)
    return total


def ours(name: str) -> Block:
    """Runs our engine as experiments.classifier --model resnet does."""
    return our_step(name).block()


def flax_engine(name: str) -> Block:
    """Runs our engine with Flax's own layers in place of ours."""
    return our_step(name, flax_network(name)).block()


def our_step(name: str, module=None) -> "EngineStep":
    """Makes our step on noise, with our own layers or another network."""
    import jax.numpy as jnp

    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data import Resident
    from jaxmodels.data.images import normalization_of
    from jaxmodels.models.resnet import ResNet
    from jaxmodels.objectives.classifier import Classifier
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.preprocessing import with_preprocessing

    network = network_of(name)
    task, dtype = network.task, jnp.bfloat16 if network.large else jnp.float32
    images, labels = task.arrays()
    normalize = normalization_of(images)
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=task.rate, schedule="constant")
    module = module or ResNet(dtype=dtype, **network.options())
    objective = with_preprocessing(
        Classifier(module, network.classes, optimizer, steps=1),
        lambda batch, key: {**batch, "image": normalize(batch["image"])},
    )
    source = Resident({"image": images, "label": labels})
    return EngineStep(objective, source, task.batch, length=10)


def preset(name: str) -> Block:
    """Runs the step of experiments.classifier --preset fashion-resnet18, with its augmentation,
    average and decay, on images of noise."""
    from experiments.benchmarks.engine_block import EngineStep
    from experiments.classifier import ClassifierConfig, build
    from experiments.presets.classifier import PRESETS
    from jaxmodels.data.images import images_from_arrays
    from jaxmodels.train import configure

    config = configure(ClassifierConfig(), **PRESETS["fashion-resnet18"].flags)
    if name == "tiny":
        config = configure(config, variant="tiny", batch_size=16)
    images, labels = network_of(name).task.arrays()
    data = images_from_arrays({"train": {"image": images, "label": labels}}, "noise")
    experiment = build(config, data)
    return EngineStep(experiment.objective, experiment.train, config.run.batch_size).block()


def flax_network(name: str):
    """Makes the network of basic blocks of Flax Linen's own layers."""
    import jax.numpy as jnp
    from flax import linen as nn

    network = network_of(name)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x, train=True):
            def convolved(x, width, size, stride=1):
                padding = [(size // 2, size // 2)] * 2
                options = {"padding": padding, "use_bias": False}
                x = nn.Conv(width, (size, size), (stride, stride), **options)(x)
                return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)

            x = nn.relu(convolved(x, network.width, 3))
            for stage, width in enumerate(network.widths):
                for block in range(network.depths[stage]):
                    stride = 2 if stage and not block else 1
                    y = nn.relu(convolved(x, width, 3, stride))
                    y = convolved(y, width, 3)
                    if x.shape != y.shape:
                        x = convolved(x, width, 1, stride)
                    x = nn.relu(x + y)
            return nn.Dense(network.classes)(jnp.mean(x, axis=(1, 2)))

    return ResNet()


def flax_loop(name: str) -> Block:
    """Runs Flax Linen's own layers, one jitted call per batch."""
    import jax
    import jax.numpy as jnp
    import optax

    task = network_of(name).task
    network, rule = flax_network(name), optax.sgd(task.rate, task.momentum)
    images, labels = task.normalized()
    state = network.init(jax.random.key(0), images[:1])
    state = state["params"], state["batch_stats"], rule.init(state["params"])

    @jax.jit
    def train_step(state, images, labels):
        params, statistics, moments = state

        def loss(params):
            variables = {"params": params, "batch_stats": statistics}
            logits, changed = network.apply(variables, images, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), changed["batch_stats"]

        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = rule.update(gradients, moments)
        return (optax.apply_updates(params, updates), statistics, moments), value

    def batches() -> Iterator:
        generator = np.random.default_rng(0)
        while True:
            for rows in generator.permutation(task.size).reshape(-1, task.batch):
                yield images[rows], labels[rows]

    stream = batches()

    def block(steps: int) -> None:
        nonlocal state
        losses = []
        for _ in range(steps):
            state, loss = train_step(state, *next(stream))
            losses.append(loss)
        jax.block_until_ready((state, losses))

    return block


def torch_channels_last(name: str) -> Block:
    """Runs PyTorch eager in the memory format channels_last, on batches indexed from one tensor."""
    return _torch_block(network_of(name))


def torch_compiled(name: str) -> Block:
    """Runs torch_channels_last with torch.compile over the network."""
    return _torch_block(network_of(name), compiled=True)


def _convolved(inputs: int, width: int, size: int, stride: int = 1) -> "nn.Sequential":
    from torch import nn

    conv = nn.Conv2d(inputs, width, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


def _torch_network(network: Network) -> "nn.Module":
    import torch
    from torch import nn

    grown = 4 if network.bottleneck else 1

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            # As in torchvision's ResNet-50 the 3x3 convolution has the stride.
            sizes = ((1, 1), (3, stride), (1, 1)) if network.bottleneck else ((3, stride), (3, 1))
            widths = [inputs, *[width] * (len(sizes) - 1), grown * width]
            layers = []
            for at, (size, step) in enumerate(sizes):
                layers += [_convolved(*widths[at : at + 2], size, step), nn.ReLU(inplace=True)]
            self.residual = nn.Sequential(*layers[:-1])
            same = inputs == grown * width and stride == 1
            shortcut = (inputs, grown * width, 1, stride)
            self.shortcut = nn.Identity() if same else _convolved(*shortcut)

        def forward(self, x):
            return torch.relu(self.residual(x) + self.shortcut(x))

    size, stride = (7, 2) if network.large else (3, 1)
    stem = _convolved(network.task.shape[2], network.width, size, stride)
    layers, inputs = [stem, nn.ReLU(inplace=True)], network.width
    layers += [nn.MaxPool2d(3, 2, 1)] if network.large else []
    for stage, width in enumerate(network.widths):
        for block in range(network.depths[stage]):
            layers.append(Block(inputs, width, 2 if stage and not block else 1))
            inputs = grown * width
    head = nn.Linear(inputs, network.classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _torch_block(network: Network, compiled: bool = False) -> Block:
    import torch

    task, device = network.task, torch_device()
    module = _torch_network(network).to(device, memory_format=torch.channels_last)
    run = torch.compile(module) if compiled else module
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), lr=task.rate, momentum=task.momentum)
    images, labels = task.arrays() if network.large else task.normalized()
    images = torch.tensor(images.transpose(0, 3, 1, 2))
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.tensor(labels).long().to(device)

    def batches() -> Iterator:
        while True:
            for rows in torch.randperm(task.size, device=device).split(task.batch):
                if len(rows) == task.batch:
                    chosen = images[rows].to(memory_format=torch.channels_last)
                    normal = (chosen.float() - 127.5) / 73.9 if network.large else chosen
                    yield normal, labels[rows]

    stream = batches()

    def block(steps: int) -> None:
        for _ in range(steps):
            images, labels = next(stream)
            optimizer.zero_grad()
            with autocast(network.large):
                loss = criterion(run(images), labels)
            loss.backward()
            optimizer.step()
        synchronize()

    return block
