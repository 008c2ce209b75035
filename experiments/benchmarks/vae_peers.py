"""The same VAE in ours, PyTorch, pythae and Flax, for experiments.benchmarks.vae.

All have the same networks, a Bernoulli likelihood, the analytic KL, one sample per image and Adam,
train in float32 and see a new batch of binary images in random order at every step. "flax" and
"pythae" are presets of experiments.vae (784-500-20, batch 128, and 784-400-40, batch 100), "conv"
is its convolutional network of width 32 with 32 latents, batch 128. PyTorch, pythae and Flax hold
the images in float32; ours holds them as uint8, as it does for a user.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.benchmarks.torch_device import synchronize, torch_device
from experiments.presets.vae import PRESETS
from experiments.vae import VAEConfig
from jaxmodels.train import configure

if TYPE_CHECKING:
    from experiments.benchmarks.engine_block import EngineStep

Block = Callable[[int], None]
SHAPE = (28, 28, 1)
PIXELS = 784


class Task(NamedTuple):
    """A config of experiments.vae, and the number of its training images."""

    config: VAEConfig
    size: int = 50_000

    def images(self) -> UInt8[np.ndarray, "count height width 1"]:
        """Draws binary noise; the speed does not depend on its values."""
        return np.random.default_rng(0).integers(0, 2, (self.size, *SHAPE), dtype=np.uint8)

    def rows(self) -> Float[np.ndarray, "count pixels"]:
        """Returns the images as rows in float32."""
        return self.images().reshape(self.size, PIXELS).astype(np.float32)

    @property
    def convolutional(self) -> bool:
        """Whether the network has convolutions."""
        return self.config.model.model == "conv"

    @property
    def options(self) -> Any:
        """The options of the chosen network."""
        return getattr(self.config.model, self.config.model.model)

    def multiplications(self) -> list[int]:
        """Counts the multiply-adds of each layer in one image's forward pass."""
        options, latents = self.options, self.options.latent_size
        if not self.convolutional:
            down = (PIXELS, *options.hidden, 2 * latents)
            up = (latents, *reversed(options.hidden), PIXELS)
            return [a * b for sizes in (down, up) for a, b in itertools.pairwise(sizes)]
        width, features, flat = options.width, options.features, 49 * 2 * options.width
        convolutions = [14 * 14 * 16 * width, 7 * 7 * 16 * width * 2 * width]
        down = [*convolutions, flat * features, features * 2 * latents]
        # A transposed convolution has as many as the convolution that it reverses.
        return [*down, latents * features, features * flat, *reversed(convolutions)]

    def flops(self) -> int:
        """Counts the operations of a training step in these layers, which needs no gradient of the
        images; leaves out activations, losses, random numbers and Adam."""
        products = self.multiplications()
        return self.config.run.batch_size * (6 * sum(products) - 2 * products[0])


def _config(preset: str, **flags) -> VAEConfig:
    """Configures a preset with other flags; another network takes no `hidden` from the preset."""
    of_preset = PRESETS[preset].flags
    if flags.get("model", "mlp") != "mlp":
        of_preset = {name: value for name, value in of_preset.items() if name != "hidden"}
    return configure(VAEConfig(), **of_preset | flags)


_CONV = {"model": "conv", "width": 32, "latent_size": 32, "features": 256, "activation": "elu"}
TASKS = {
    "flax": Task(_config("flax")),
    "pythae": Task(_config("pythae")),
    "conv": Task(_config("flax", **_CONV)),
    # For trials of the benchmarks.
    "tiny": Task(_config("flax", hidden=(16,), latent_size=2, batch_size=16), 160),
}


# Ours.


def ours(name: str) -> Block:
    """Runs our engine as experiments.vae does."""
    return our_step(name).block()


def our_step(name: str) -> "EngineStep":
    """Makes our step on noise."""
    from experiments import vae
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data.images import images_from_arrays

    task = TASKS[name]
    data = images_from_arrays({"train": {"image": task.images()}}, "noise")
    experiment = vae.build(configure(task.config, scored=0), data)
    run = task.config.run
    return EngineStep(
        experiment.objective, experiment.train, run.batch_size, run.steps_per_dispatch
    )


# PyTorch.


def torch_eager(name: str) -> Block:
    """Runs PyTorch eager on batches indexed from one tensor in memory."""
    return _torch_block(TASKS[name])


def torch_channels_last(name: str) -> Block:
    """Runs torch_eager with networks and images in the memory format channels_last."""
    return _torch_block(TASKS[name], channels_last=True)


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over networks and loss."""
    return _torch_block(TASKS[name], compiled=True)


def _torch_networks(task: Task):
    """Makes the encoder to [mean, log-variance] and the decoder to logits."""
    from torch import nn

    from experiments.benchmarks.pythae_vae import relu_layers

    options, latents = task.options, task.options.latent_size
    if not task.convolutional:
        encoder = relu_layers(PIXELS, *options.hidden)
        decoder = relu_layers(latents, *reversed(options.hidden))
        ends = nn.Linear(options.hidden[-1], 2 * latents), nn.Linear(options.hidden[0], PIXELS)
        return nn.Sequential(*encoder, ends[0]), nn.Sequential(*decoder, ends[1])
    width, features, flat = options.width, options.features, 49 * 2 * options.width
    halve = {"kernel_size": 4, "stride": 2, "padding": 1}
    encoder = [nn.Conv2d(1, width, **halve), nn.ELU(), nn.Conv2d(width, 2 * width, **halve)]
    encoder += [nn.ELU(), nn.Flatten(), nn.Linear(flat, features), nn.ELU()]
    decoder = [nn.Linear(latents, features), nn.ELU(), nn.Linear(features, flat)]
    decoder += [nn.Unflatten(1, (2 * width, 7, 7)), nn.ELU()]
    decoder += [nn.ConvTranspose2d(2 * width, width, **halve), nn.ELU()]
    decoder += [nn.ConvTranspose2d(width, 1, **halve)]
    return nn.Sequential(*encoder, nn.Linear(features, 2 * latents)), nn.Sequential(*decoder)


def _torch_block(task: Task, channels_last: bool = False, compiled: bool = False) -> Block:
    import torch
    from torch.nn import functional

    encoder, decoder = networks = torch.nn.ModuleList(_torch_networks(task))
    networks.to(torch_device())
    images = torch.tensor(task.rows()).to(torch_device())
    if task.convolutional:
        images = images.reshape(-1, 1, 28, 28)
    if channels_last:
        networks.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(networks.parameters(), lr=task.config.optimizer.learning_rate)
    batch = task.config.run.batch_size

    def loss(x):
        mean, log_variance = encoder(x).chunk(2, dim=-1)
        latents = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        logits = decoder(latents)
        error = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
        return (error + kl) / batch

    run = torch.compile(loss) if compiled else loss

    def batches() -> Iterator:
        while True:
            order = torch.randperm(task.size, device=images.device)
            for rows in order[: task.size // batch * batch].split(batch):
                yield images[rows]

    stream = batches()

    def block(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            run(next(stream)).backward()
            optimizer.step()
        synchronize()

    return block


# pythae.


class _NextBatches:
    """The next `count` batches of a loader that starts anew when it ends."""

    def __init__(self, loader):
        self.dataset, self.count = loader.dataset, 0
        self._stream = itertools.chain.from_iterable(itertools.repeat(loader))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator:
        return itertools.islice(self._stream, self.count)


def pythae_trainer(name: str) -> Block:
    """Runs pythae's trainer: its model, loss, DataLoader and callbacks, and its `train_step`, which
    is an epoch, here of the steps of a block."""
    from experiments.benchmarks.pythae_vae import pythae_images, pythae_vae, trainer_without_files

    task, config = TASKS[name], TASKS[name].config
    trainer = trainer_without_files(
        pythae_vae(task.options.hidden, task.options.latent_size, PIXELS, seed=0),
        pythae_images(task.images()),
        per_device_train_batch_size=config.run.batch_size,
        learning_rate=config.optimizer.learning_rate,
    )
    trainer.prepare_training()
    trainer.train_loader = _NextBatches(trainer.train_loader)

    def block(steps: int) -> None:
        trainer.train_loader.count = steps
        trainer.train_step(epoch=1)
        trainer.callback_handler.on_epoch_end(trainer.training_config)

    return block


# Flax.


def flax_published(name: str) -> Block:
    """Runs the step of Flax's VAE example as published: eager, one operation after the other."""
    from experiments.benchmarks.flax_vae import flax_block

    return flax_block(TASKS[name], jitted=False)


def flax_jitted(name: str) -> Block:
    """Runs the same step jitted, as the example had it until 2023: one call per batch."""
    from experiments.benchmarks.flax_vae import flax_block

    return flax_block(TASKS[name], jitted=True)
