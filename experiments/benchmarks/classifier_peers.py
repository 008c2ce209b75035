"""The same training step in ours, PyTorch, Flax and Keras, for experiments.benchmarks.classifier.

All have the same architecture, batch size and SGD (with momentum 0.9, except for the net), train in
float32 and see a new batch in random order at every step. PyTorch, Keras and Flax hold the images
normalised in float32; ours holds them as uint8 and normalises each batch, as it does for a user.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.benchmarks.torch_device import synchronize, torch_device

if TYPE_CHECKING:
    from experiments.benchmarks.engine_block import EngineStep

Block = Callable[[int], None]


class Task(NamedTuple):
    """A network and its data."""

    shape: tuple[int, int, int]
    batch: int
    size: int
    rate: float
    momentum: float
    channels: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws images (uint8) and labels; the speed does not depend on their values."""
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (self.size, *self.shape), dtype=np.uint8)
        return images, generator.integers(0, 10, self.size).astype(np.int32)

    def normalized(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images in float32, with mean 0 and standard deviation 1, and the labels."""
        images, labels = self.arrays()
        return (images.astype(np.float32) - 127.5) / 73.9, labels

    def multiplications(self) -> int:
        """Counts the multiply-adds of one example's forward pass."""
        height, width, inputs = self.shape
        total = 0
        for outputs in self.channels:
            total += height * width * 9 * inputs * outputs
            height, width, inputs = height // 2, width // 2, outputs
        sizes = (height * width * inputs, *self.hidden, 10)
        return total + sum(a * b for a, b in pairwise(sizes))

    def flops(self) -> int:
        """Counts the operations of a training step, which needs no gradient of the images."""
        height, width, inputs = self.shape
        first = (
            height * width * 9 * inputs * self.channels[0]
            if self.channels
            else height * width * inputs * self.hidden[0]
        )
        return self.batch * (6 * self.multiplications() - 2 * first)


TASKS = {
    "net": Task((10, 10, 1), 32, 1280, 0.01, 0.0, hidden=(50,)),
    "mlp": Task((28, 28, 1), 128, 60_000, 0.1, 0.9, hidden=(512, 512)),
    "cnn": Task((28, 28, 1), 128, 60_000, 0.1, 0.9, channels=(32, 64), hidden=(256,)),
    # For trials of the benchmarks.
    "tiny": Task((8, 8, 1), 16, 160, 0.1, 0.9, channels=(4, 8), hidden=(16,)),
}


def ours(name: str) -> Block:
    """Runs our engine as experiments.classifier does."""
    return our_step(name).block()


def flax_engine(name: str) -> Block:
    """Runs our engine with Flax's own layers in place of ours."""
    return our_step(name, network=flax_network(name)).block()


def our_step(name: str, network=None) -> "EngineStep":
    """Makes our step on noise, with our own layers or another network."""
    from jaxmodels.data import Resident
    from jaxmodels.data.images import normalization_of

    images, labels = TASKS[name].arrays()
    source = Resident({"image": images, "label": labels})
    return step_on(name, source, normalization_of(images), network)


def step_on(name: str, source, normalize: Callable, network=None) -> "EngineStep":
    """Makes our step on the batches of a source."""
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.objectives.classifier import Classifier
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.preprocessing import with_preprocessing

    task = TASKS[name]
    optimizer = OptimizerConfig(
        optimizer="momentum" if task.momentum else "sgd",
        learning_rate=task.rate,
        schedule="constant",
    )
    objective = with_preprocessing(
        Classifier(network or our_network(name), 10, optimizer, steps=1),
        lambda batch, key: {**batch, "image": normalize(batch["image"])},
    )
    return EngineStep(objective, source, task.batch)


def our_network(name: str):
    """Makes the network of our own layers."""
    from jaxmodels.models.classifiers import ClassifierModels
    from jaxmodels.train import configure

    task = TASKS[name]
    kind = {"model": "cnn", "channels": task.channels} if task.channels else {"model": "mlp"}
    return configure(ClassifierModels(), **kind, hidden=task.hidden).create(classes=10)


def torch_loader(name: str) -> Block:
    """Runs PyTorch eager as in its tutorials: a DataLoader over tensors, and loss.item()."""
    import torch

    task = TASKS[name]
    images, labels = _torch_data(task)
    data = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=task.batch, shuffle=True)

    def batches() -> Iterator:
        while True:
            yield from loader

    return _torch_block(task, batches(), read_loss=True)


def torch_memory(name: str) -> Block:
    """Runs PyTorch eager on batches indexed from one tensor in memory."""
    task = TASKS[name]
    return _torch_block(task, _torch_batches(task))


def torch_compiled(name: str) -> Block:
    """Runs torch_memory with torch.compile over the model."""
    task = TASKS[name]
    return _torch_block(task, _torch_batches(task), compiled=True)


def _torch_data(task: Task):
    import torch

    images, labels = task.normalized()
    images = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    return images.to(torch_device()), torch.tensor(labels).long().to(torch_device())


def _torch_batches(task: Task) -> Iterator:
    import torch

    images, labels = _torch_data(task)
    while True:
        order = torch.randperm(task.size, device=images.device)
        for rows in order[: task.size // task.batch * task.batch].split(task.batch):
            yield images[rows], labels[rows]


def _torch_model(task: Task):
    import torch
    from torch import nn

    layers, (height, width, inputs) = [], task.shape
    for outputs in task.channels:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        height, width, inputs = height // 2, width // 2, outputs
    layers.append(nn.Flatten())
    sizes = (height * width * inputs, *task.hidden)
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    layers.append(nn.Linear(sizes[-1], 10))
    return nn.Sequential(*layers).to(torch_device(), memory_format=torch.channels_last)


def _torch_block(
    task: Task, batches: Iterator, compiled: bool = False, read_loss: bool = False
) -> Block:
    import torch

    torch.set_num_threads(torch.get_num_threads())
    model = _torch_model(task)
    run = torch.compile(model) if compiled else model
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.rate, momentum=task.momentum)

    def block(steps: int) -> None:
        total = 0.0
        for _ in range(steps):
            images, labels = next(batches)
            images = images.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = criterion(run(images), labels)
            loss.backward()
            optimizer.step()
            if read_loss:
                total += loss.item()
        synchronize()

    return block


def flax_network(name: str):
    """Makes the network of Flax Linen's own layers."""
    from flax import linen as nn

    task = TASKS[name]

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train=True):
            for features in task.channels:
                x = nn.relu(nn.Conv(features, (3, 3))(x))
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = x.reshape((x.shape[0], -1))
            for features in task.hidden:
                x = nn.relu(nn.Dense(features)(x))
            return nn.Dense(10)(x)

    return Network()


def flax_loop(name: str) -> Block:
    """Runs the loop of Flax's MNIST example: it calls two jitted functions for each batch."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax.training import train_state

    task = TASKS[name]

    @jax.jit
    def apply_model(state, images, labels):
        def loss_fn(params):
            logits = state.apply_fn({"params": params}, images)
            one_hot = jax.nn.one_hot(labels, 10)
            return jnp.mean(optax.softmax_cross_entropy(logits, one_hot)), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return grads, loss, jnp.mean(jnp.argmax(logits, -1) == labels)

    @jax.jit
    def update_model(state, grads):
        return state.apply_gradients(grads=grads)

    network = flax_network(name)
    params = network.init(jax.random.key(0), jnp.ones([1, *task.shape]))["params"]
    rule = optax.sgd(task.rate, task.momentum or None)
    state = train_state.TrainState.create(apply_fn=network.apply, params=params, tx=rule)
    images, labels = task.normalized()
    generator = np.random.default_rng(0)

    def batches() -> Iterator:
        while True:
            order = generator.permutation(task.size)
            for at in range(0, task.size - task.batch + 1, task.batch):
                rows = order[at : at + task.batch]
                yield images[rows], labels[rows]

    stream = batches()

    def block(steps: int) -> None:
        nonlocal state
        losses = []
        for _ in range(steps):
            grads, loss, _ = apply_model(state, *next(stream))
            state = update_model(state, grads)
            losses.append(loss)
        jax.block_until_ready((state, losses))

    return block


def keras_fit(name: str) -> Block:
    """Runs model.fit of Keras 3 on JAX with numpy arrays."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    task = TASKS[name]
    layers = [keras.Input(task.shape)]
    for channels in task.channels:
        layers.append(keras.layers.Conv2D(channels, 3, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(2))
    layers.append(keras.layers.Flatten())
    layers += [keras.layers.Dense(width, activation="relu") for width in task.hidden]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    model.compile(
        optimizer=keras.optimizers.SGD(task.rate, momentum=task.momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    images, labels = task.normalized()
    per_epoch = task.size // task.batch

    def block(steps: int) -> None:
        while steps:
            epochs, part = divmod(steps, per_epoch)
            part, epochs = (per_epoch, epochs) if epochs else (part, 1)
            rows = part * task.batch
            model.fit(images[:rows], labels[:rows], batch_size=task.batch, epochs=epochs, verbose=0)
            steps -= part * epochs

    return block
