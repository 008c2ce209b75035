"""The same DCGAN in ours, PyTorch and Flax, for experiments.benchmarks.gan.

All have the networks of `experiments.gan --preset dcgan`: 4x4 convolutions of stride 2 with 64
channels next to the image, BatchNorm in both, a latent of 100; at 64 x 64 these are the networks of
PyTorch's DCGAN tutorial (and of its examples, dcgan/main.py). All train in float32 with the
non-saturating loss and Adam (2e-4, beta 0.5 and 0.999), the discriminator first, the generator
against the updated one, and see a new batch in random order at every step. PyTorch and Flax hold
the images scaled to -1..1 in float32; ours holds them as uint8 and scales each batch, as it does
for a user.

Ours has biases in three layers where the tutorial has none, and linear layers where it has
convolutions from and to one pixel, which are the same operations.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.benchmarks.torch_dcgan import (
    BATCH,
    BETAS,
    LATENTS,
    RATE,
    WIDTH,
    TorchDCGAN,
    torch_batches,
)
from experiments.benchmarks.torch_device import synchronize, torch_device
from jaxmodels.models.dcgan import halved_sizes
from jaxmodels.models.gan_layers import Shape

if TYPE_CHECKING:
    from experiments.benchmarks.engine_block import EngineStep

Block = Callable[[int], None]


class Task(NamedTuple):
    """Square grey images of a size, from which both networks follow."""

    size: int

    @property
    def shape(self) -> Shape:
        """Height, width, channels."""
        return (self.size, self.size, 1)

    def images(self) -> UInt8[np.ndarray, "count height width channels"]:
        """Draws 80 batches of noise; the speed does not depend on their values."""
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (80 * BATCH, *self.shape), dtype=np.uint8)

    def scaled(self) -> Float[np.ndarray, "count height width channels"]:
        """Returns the images in -1..1."""
        return self.images().astype(np.float32) * (2 / 255) - 1

    def flops(self, update: str) -> int:
        """Counts the operations that a step has to do in convolutions and linear layers.

        update: "shared": the generator learns from the fakes of the discriminator's turn (the
          tutorial); "fresh": from fakes of its own (ours, alternating); "simultaneous": both learn
          from the same forward passes.

        G and D are the multiply-adds of one image's forward pass. The discriminator's turn has
        G + 2 D forward (a fake; a real image and the fake) and 2 (D + D) backward, for kernels and
        inputs, without the gradients of the images. The generator's turn has D forward, and
        backward D for the discriminator's inputs and G + G for kernels and inputs, without the
        gradient of the latents. BatchNorm, activations, losses, Adam and random numbers are left
        out, and so is the tutorial's unused gradient of the discriminator's kernels.
        """
        # Between two sizes, both networks have the same convolution, one transposed.
        inputs, image, between = self.shape[2], 0, 0
        for layer, (height, width) in enumerate(halved_sizes(self.shape)[1:]):
            channels = WIDTH * 2**layer
            products = height * width * 16 * inputs * channels
            image, between = (image, between + products) if layer else (products, 0)
            inputs, smallest = channels, height * width * channels
        first = LATENTS * smallest
        generator, discriminator = first + between + image, image + between + smallest
        turn = generator + 2 * discriminator + 2 * (2 * discriminator - image)
        answer = 2 * discriminator + 2 * generator - first
        extra = {"shared": 0, "fresh": generator, "simultaneous": -discriminator}[update]
        return 2 * BATCH * (turn + answer + extra)


TASKS = {"28": Task(28), "64": Task(64)}
# For trials of the benchmarks.
TASKS["8"] = Task(8)


# Ours.


def ours(name: str) -> Block:
    """Runs our engine as experiments.gan --preset dcgan does."""
    return our_step(name, "alternating").block()


def shared(name: str) -> Block:
    """Runs ours with --updates shared, which is the order of PyTorch's tutorial."""
    return our_step(name, "shared").block()


def simultaneous(name: str) -> Block:
    """Runs ours with --updates simultaneous."""
    return our_step(name, "simultaneous").block()


def our_step(name: str, updates: str = "shared") -> "EngineStep":
    """Makes our step with an order of updates."""
    from experiments.benchmarks.engine_block import EngineStep
    from experiments.gan import GANConfig
    from experiments.presets.gan import PRESETS
    from jaxmodels.data import Resident
    from jaxmodels.objectives.gan import GAN
    from jaxmodels.objectives.preprocessing import with_preprocessing
    from jaxmodels.train import configure

    task = TASKS[name]
    config = configure(GANConfig(), **PRESETS["dcgan"].flags, updates=updates)
    objective = with_preprocessing(
        GAN(
            *config.model.create(shape=task.shape),
            config.adversarial,
            config.optimizer,
            steps=config.run.steps,
            latent_size=config.latent_size,
        ),
        lambda batch, key: {"image": batch["image"].astype("float32") * (2 / 255) - 1},
    )
    return EngineStep(objective, Resident({"image": task.images()}), BATCH)


# PyTorch.


def torch_eager(name: str) -> Block:
    """Runs the loop of the tutorial on batches from memory instead of its DataLoader."""
    return _torch_block(TASKS[name])


def torch_channels_last(name: str) -> Block:
    """Runs torch_eager with networks and images in the memory format channels_last."""
    return _torch_block(TASKS[name], channels_last=True)


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over both networks."""
    return _torch_block(TASKS[name], compiled=True)


def _torch_block(task: Task, **options: bool) -> Block:
    import torch

    training = TorchDCGAN(task.shape, **options)
    images = torch.tensor(task.scaled().transpose(0, 3, 1, 2).copy()).to(torch_device())
    batches = torch_batches(images)

    def block(steps: int) -> None:
        for _ in range(steps):
            training.step(next(batches))
        synchronize()

    return block


# Flax.


def _flax_networks(task):
    """Makes the tutorial's generator and discriminator of Flax's own layers."""
    import jax.numpy as jnp
    from flax import linen as nn

    *larger, (rows, columns) = halved_sizes(task.shape)
    init = nn.initializers.normal(0.02)
    options = {"kernel_size": (4, 4), "strides": (2, 2), "use_bias": False, "kernel_init": init}

    class Generator(nn.Module):
        @nn.compact
        def __call__(self, x):
            channels = WIDTH * 2 ** (len(larger) - 1)
            x = nn.Dense(rows * columns * channels, use_bias=False, kernel_init=init)(x)
            x = x.reshape(-1, rows, columns, channels)
            for layer, size in reversed(list(enumerate(larger))):
                x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
                channels = WIDTH * 2 ** (layer - 1) if layer else task.shape[2]
                padding = [(2, 2 - side % 2) for side in size]
                x = nn.ConvTranspose(channels, padding=padding, **options)(x)
            return jnp.tanh(x)

    class Discriminator(nn.Module):
        @nn.compact
        def __call__(self, x):
            for layer in range(len(larger)):
                x = nn.Conv(WIDTH * 2**layer, **options)(x)
                if layer:
                    x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
                x = nn.leaky_relu(x, 0.2)
            x = x.reshape(x.shape[0], -1)
            return nn.Dense(1, use_bias=False, kernel_init=init)(x)[:, 0]

    return {"generator": Generator(), "discriminator": Discriminator()}


def _shuffled(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yields batches of images without end, each epoch in another order."""
    generator = np.random.default_rng(0)
    while True:
        for rows in generator.permutation(len(images)).reshape(-1, BATCH):
            yield images[rows]


def flax_loop(name: str) -> Block:
    """Runs Flax Linen's own layers in the order of the tutorial, one jitted call per batch."""
    import jax
    import jax.numpy as jnp
    import optax

    task = TASKS[name]
    networks = _flax_networks(task)
    rule = optax.adam(RATE, *BETAS)
    criterion = optax.sigmoid_binary_cross_entropy

    def apply(player, params, statistics, x):
        variables = {"params": params, "batch_stats": statistics}
        output, changed = networks[player].apply(variables, x, mutable=["batch_stats"])
        return output, changed["batch_stats"]

    def update(state, player, gradients):
        updates, moments = rule.update(gradients, state[player]["moments"])
        params = optax.apply_updates(state[player]["params"], updates)
        return {**state, player: {**state[player], "params": params, "moments": moments}}

    def keep(state, player, statistics):
        return {**state, player: {**state[player], "statistics": statistics}}

    @jax.jit
    def train_step(state, images, key):
        # Both losses make the same fakes, for which XLA runs one forward pass.
        latents = jax.random.normal(key, (len(images), LATENTS))

        def discriminator_loss(params, fakes):
            statistics = state["discriminator"]["statistics"]
            on_real, statistics = apply("discriminator", params, statistics, images)
            on_fake, statistics = apply("discriminator", params, statistics, fakes)
            loss = criterion(on_real, jnp.ones_like(on_real))
            loss += criterion(on_fake, jnp.zeros_like(on_fake))
            return loss.mean(), statistics

        def generator_loss(params):
            old = state["generator"]["statistics"]
            fakes, statistics = apply("generator", params, old, latents)
            rival = state["discriminator"]
            on_fake, _ = apply("discriminator", rival["params"], rival["statistics"], fakes)
            return criterion(on_fake, jnp.ones_like(on_fake)).mean(), statistics

        own = state["generator"]
        fakes, statistics = apply("generator", own["params"], own["statistics"], latents)
        state = keep(state, "generator", statistics)
        slope = jax.value_and_grad(discriminator_loss, has_aux=True)
        (loss, statistics), gradients = slope(state["discriminator"]["params"], fakes)
        state = keep(update(state, "discriminator", gradients), "discriminator", statistics)
        slope = jax.value_and_grad(generator_loss, has_aux=True)
        (answer, statistics), gradients = slope(state["generator"]["params"])
        state = keep(update(state, "generator", gradients), "generator", statistics)
        return state, (loss, answer)

    inputs = {"generator": jnp.ones((1, LATENTS)), "discriminator": jnp.ones((1, *task.shape))}
    state = {}
    for player, network in networks.items():
        variables = network.init(jax.random.key(0), inputs[player])
        params, statistics = variables["params"], variables["batch_stats"]
        state[player] = {"params": params, "statistics": statistics, "moments": rule.init(params)}
    stream, root, at = _shuffled(task.scaled()), jax.random.key(1), 0

    def block(steps: int) -> None:
        nonlocal state, at
        losses = []
        for _ in range(steps):
            state, loss = train_step(state, next(stream), jax.random.fold_in(root, at))
            losses.append(loss)
            at += 1
        jax.block_until_ready((state, losses))

    return block
