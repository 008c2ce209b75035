"""The training step of ResNet-18 in ours, Flax and PyTorch, for experiments.benchmarks.convolution.

For images of 28x28x1, with the stem for small images (a 3x3 convolution and no pooling), batch 128,
SGD with momentum 0.9, float32, a new batch in random order at every step; ours holds the images as
uint8 and normalises them on the way, Flax and PyTorch hold them normalised.
"""

from collections.abc import Callable, Iterator

import numpy as np

from experiments.benchmarks.classifier_peers import Task
from experiments.benchmarks.convolution_peers import BATCH, LAYERS

Block = Callable[[int], None]
WIDTHS = (64, 128, 256, 512)
TASK = Task((28, 28, 1), BATCH, 40 * BATCH, 0.1, 0.9)


def flops(_: str) -> int:
    """Of a training step in its convolutions and the last linear layer."""
    total = LAYERS["ResNet-18 stem"].flops() + 3 * 2 * BATCH * WIDTHS[-1] * 10
    for stage in range(1, 5):
        name = f"ResNet-18 layer{stage}"
        first = (name,) if stage == 1 else (f"{name}.0", f"{name}.0 1x1")
        total += 3 * LAYERS[name].flops() + sum(LAYERS[other].flops() for other in first)
    return total


def ours(_: str) -> Block:
    """The engine of this project, as experiments.classifier --model resnet runs it."""
    from experiments.benchmarks.engine_block import engine_block
    from jaxmodels.data import Resident
    from jaxmodels.data.images import normalization_of
    from jaxmodels.models.classifiers import create_model
    from jaxmodels.objectives.classifier import classifier, hyperparameters
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.preprocessing import with_preprocessing
    from jaxmodels.train.layout import make_mesh
    from jaxmodels.train.program import TrainProgram

    images, labels = TASK.arrays()
    normalize = normalization_of(images)
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=TASK.rate, schedule="constant")
    objective = with_preprocessing(
        classifier(create_model("resnet", classes=10), 10, optimizer, steps=1),
        lambda batch, key: {**batch, "image": normalize(batch["image"])},
    )
    source, numbers = Resident({"image": images, "label": labels}), hyperparameters(optimizer)
    return engine_block(TrainProgram(objective, source, numbers, TASK.batch, 10, 0, make_mesh()))


def flax_loop(_: str) -> Block:
    """Flax Linen's own layers, one jitted function called for each batch."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            def convolved(x, width, size, stride=1):
                padding = [(size // 2, size // 2)] * 2
                options = {"padding": padding, "use_bias": False}
                x = nn.Conv(width, (size, size), (stride, stride), **options)(x)
                return nn.BatchNorm(use_running_average=False, momentum=0.9)(x)

            x = nn.relu(convolved(x, WIDTHS[0], 3))
            for stage, width in enumerate(WIDTHS):
                for stride in (2 if stage else 1, 1):
                    y = nn.relu(convolved(x, width, 3, stride))
                    y = convolved(y, width, 3)
                    if x.shape != y.shape:
                        x = convolved(x, width, 1, stride)
                    x = nn.relu(x + y)
            return nn.Dense(10)(x.mean(axis=(1, 2)))

    network, rule = ResNet(), optax.sgd(TASK.rate, TASK.momentum)
    images, labels = TASK.normalized()
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
            for rows in generator.permutation(TASK.size).reshape(-1, TASK.batch):
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


def torch_channels_last(_: str) -> Block:
    """PyTorch eager in the memory format channels_last, batches indexed from one tensor."""
    return _torch_block()


def torch_compiled(_: str) -> Block:
    """The same with torch.compile over the network."""
    return _torch_block(compiled=True)


def _torch_network():
    import torch
    from torch import nn

    def convolved(inputs, width, size, stride=1):
        conv = nn.Conv2d(inputs, width, size, stride, size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width))

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            first, second = convolved(inputs, width, 3, stride), convolved(width, width, 3)
            self.residual = nn.Sequential(first, nn.ReLU(inplace=True), second)
            same = inputs == width and stride == 1
            self.shortcut = nn.Identity() if same else convolved(inputs, width, 1, stride)

        def forward(self, x):
            return torch.relu(self.residual(x) + self.shortcut(x))

    layers, inputs = [convolved(1, WIDTHS[0], 3), nn.ReLU(inplace=True)], WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        layers += [Block(inputs, width, 2 if stage else 1), Block(width, width, 1)]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def _torch_block(compiled: bool = False) -> Block:
    import torch

    network = _torch_network().to(memory_format=torch.channels_last)
    run = torch.compile(network) if compiled else network
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=TASK.rate, momentum=TASK.momentum)
    images, labels = TASK.normalized()
    images = torch.tensor(images.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    labels = torch.tensor(labels).long()

    def batches() -> Iterator:
        while True:
            for rows in torch.randperm(TASK.size).split(TASK.batch):
                yield images[rows], labels[rows]

    stream = batches()

    def block(steps: int) -> None:
        for _ in range(steps):
            images, labels = next(stream)
            optimizer.zero_grad()
            criterion(run(images), labels).backward()
            optimizer.step()

    return block
