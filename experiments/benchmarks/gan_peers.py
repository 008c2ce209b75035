"""The same DCGAN in ours, PyTorch and Flax, for experiments.benchmarks.gan.

All have the networks of `experiments.gan --preset dcgan`: 4x4 convolutions of stride 2 with 64
channels next to the image, BatchNorm in both, a latent of 100; at 64 x 64 these are the networks of
PyTorch's DCGAN tutorial (and of its examples, dcgan/main.py). All train in float32 with the
non-saturating loss and Adam (2e-4, beta 0.5 and 0.999), the discriminator first, the generator
against the updated one, and see a new batch in random order at every step. PyTorch and Flax hold
the images scaled to -1..1 in float32; ours does what it does for a user.

(Ours has biases in three layers where the tutorial has none, and a linear layer where it has a
convolution of or to one pixel: the same operations.)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Num, UInt8

from jaxmodels.errors import RunError
from jaxmodels.models.dcgan import halved_sizes
from jaxmodels.models.gan_layers import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn

Block = Callable[[int], None]

BATCH, LATENTS, WIDTH = 128, 100, 64
RATE, BETAS = 2e-4, (0.5, 0.999)


class Task(NamedTuple):
    """Square grey images of a size, of which both networks follow."""

    size: int

    @property
    def shape(self) -> Shape:
        """Height, width, channels."""
        return (self.size, self.size, 1)

    def images(self) -> UInt8[np.ndarray, "count height width channels"]:
        """80 whole batches of noise; the speed does not depend on what is seen."""
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (80 * BATCH, *self.shape), dtype=np.uint8)

    def scaled(self) -> Float[np.ndarray, "count height width channels"]:
        """The same in -1..1."""
        return self.images().astype(np.float32) * (2 / 255) - 1

    def flops(self, update: str) -> int:
        """Floating-point operations that a step has to do in convolutions and linear layers.

        update: "shared", the generator answers the updated discriminator with the fakes that this
        one has learnt from (the tutorial); "fresh", with fakes of their own (ours, alternating);
        "simultaneous", the gradients of both come from the same forward passes.

        With G and D the multiply-adds of one image's forward pass, the discriminator's turn is G +
        2 D forward (fakes; real images and fakes) and twice D for gradients of kernels and D of
        inputs, but for those of the images. The generator's is D forward, D for gradients of the
        discriminator's inputs, and G of kernels and G of inputs, but for those of the latents.
        Left out are BatchNorm, activations, losses, Adam, random numbers, and what a peer computes
        and throws away: the tutorial's second gradient of the discriminator's kernels.
        """
        # From one size to another, both have the same convolutions, one way and the other.
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


# Ours.


def ours(name: str) -> Block:
    """The engine of this project, as experiments.gan --preset dcgan runs it."""
    return _ours(TASKS[name], "alternating")


def simultaneous(name: str) -> Block:
    """The same with --updates simultaneous."""
    return _ours(TASKS[name], "simultaneous")


def _ours(task: Task, updates: str) -> Block:
    import jax

    from experiments.gan import PRESETS
    from jaxmodels.data import Resident
    from jaxmodels.models import create_gan
    from jaxmodels.objectives.gan import gan
    from jaxmodels.objectives.preprocessing import with_preprocessing
    from jaxmodels.train.compile import TrainProgram, make_mesh

    config = replace(PRESETS["dcgan"], updates=updates)
    networks = create_gan(config.model, "batch", shape=task.shape, width=config.width)
    objective = with_preprocessing(
        gan(*networks, config, steps=config.steps, latent_size=config.latent_size),
        lambda batch: {"image": batch["image"].astype("float32") * (2 / 255) - 1},
    )
    length = config.log_every
    source, numbers = Resident({"image": task.images()}), config.hyperparameters()
    program = TrainProgram(objective, source, numbers, BATCH, length, 0, make_mesh())
    state, at = program.create(), 0

    def block(steps: int) -> None:
        nonlocal state, at
        window = program.zeros()
        end = at + steps
        while at < end:
            stop = min(at + length, end)
            state, window = program.run(state, window, at, stop)
            at = stop
        jax.device_get(window)

    return block


# PyTorch.


def torch_eager(name: str) -> Block:
    """The loop of the tutorial as published, but for its DataLoader: batches come from memory."""
    return _torch_block(TASKS[name])


def torch_channels_last(name: str) -> Block:
    """The same with networks and images in the memory format channels_last."""
    return _torch_block(TASKS[name], channels_last=True)


def torch_compiled(name: str) -> Block:
    """The same as torch_eager with torch.compile over both networks."""
    return _torch_block(TASKS[name], compiled=True)


def _torch_block(task: Task, **options: bool) -> Block:
    import torch

    training = TorchDCGAN(task.shape, **options)
    images = torch.tensor(task.scaled().transpose(0, 3, 1, 2).copy())
    batches = torch_batches(images)

    def block(steps: int) -> None:
        for _ in range(steps):
            training.step(next(batches))

    return block


def torch_batches(images: "torch.Tensor") -> Iterator["torch.Tensor"]:
    """Batches of images in memory, each epoch in another order; its last one may be smaller."""
    import torch

    while True:
        for rows in torch.randperm(len(images)).split(BATCH):
            yield images[rows]


def torch_networks(shape: Shape) -> tuple["nn.Module", "nn.Module"]:
    """Generator and discriminator of the tutorial, here for images of any size."""
    from torch import nn

    *larger, smallest = halved_sizes(shape)
    widths = [shape[2]] + [WIDTH * 2**layer for layer in range(len(larger))]
    ups = [nn.ConvTranspose2d(LATENTS, widths[-1], smallest, bias=False)]
    downs = []
    for layer, size in enumerate(larger):
        few, many = widths[layer : layer + 2]
        # At even sizes padding 1, as in the tutorial; an odd one is halved rounding up.
        odd = [side % 2 for side in size]
        options = {"stride": 2, "padding": [1 + rest for rest in odd], "bias": False}
        downs += [nn.Conv2d(few, many, 4, **options)]
        downs += [nn.BatchNorm2d(many)] if layer else []
        downs += [nn.LeakyReLU(0.2, inplace=True)]
        up = nn.ConvTranspose2d(many, few, 4, output_padding=odd, **options)
        # From the image inwards, while the generator runs outwards.
        ups[1:1] = [nn.BatchNorm2d(many), nn.ReLU(True), up]
    generator = nn.Sequential(*ups, nn.Tanh())
    head = nn.Conv2d(widths[-1], 1, smallest, bias=False)
    discriminator = nn.Sequential(*downs, head, nn.Sigmoid())
    for network in (generator, discriminator):
        for layer in network:
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0.0, 0.02)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, 0.02)
    return generator, discriminator


class TorchDCGAN:
    """Networks, optimizers and training step of PyTorch's DCGAN tutorial."""

    def __init__(self, shape: Shape, channels_last: bool = False, compiled: bool = False):
        import torch

        self._generator, discriminator = torch_networks(shape)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        for network in (self._generator, discriminator):
            network.to(memory_format=self._format)
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=RATE, betas=BETAS)
            for network in (self._generator, discriminator)
        )
        compiler = torch.compile if compiled else lambda network: network
        self._generate, self._discriminate = compiler(self._generator), compiler(discriminator)
        self._criterion = torch.nn.BCELoss()
        self.log: list[tuple[float, ...]] = []

    def step(self, real: "torch.Tensor") -> None:
        """One update of each, operation for operation that of the tutorial: the discriminator
        learns from real images, then from fakes, each with its own backward pass; the generator
        from the same fakes, seen by the updated discriminator; five numbers are logged."""
        import torch

        real = real.to(memory_format=self._format)
        self._discriminate.zero_grad()
        target = torch.full((len(real),), 1.0)
        output = self._discriminate(real).view(-1)
        real_loss = self._criterion(output, target)
        real_loss.backward()
        on_real = output.mean().item()

        fake = self._generate(torch.randn(len(real), LATENTS, 1, 1))
        target.fill_(0.0)
        output = self._discriminate(fake.detach()).view(-1)
        fake_loss = self._criterion(output, target)
        fake_loss.backward()
        on_fake = output.mean().item()
        self._discriminator_optimizer.step()

        self._generate.zero_grad()
        target.fill_(1.0)
        output = self._discriminate(fake).view(-1)
        loss = self._criterion(output, target)
        loss.backward()
        on_fake_after = output.mean().item()
        self._generator_optimizer.step()
        both = (real_loss + fake_loss).item()
        self.log.append((both, loss.item(), on_real, on_fake, on_fake_after))

    def sample(
        self, count: int, batch_statistics: bool
    ) -> Float[np.ndarray, "count height width channels"]:
        """Images in 0..255, not rounded; BatchNorm normalises by the moments of each batch of 128,
        as in training, or by its running averages."""
        import torch

        self._generator.train(batch_statistics)
        parts = []
        with torch.no_grad():
            # Whole batches, the last one too: moments of a few images are other moments.
            for _ in range(-(-count // BATCH)):
                fakes = self._generator(torch.randn(BATCH, LATENTS, 1, 1))
                parts.append(fakes.permute(0, 2, 3, 1).numpy())
        self._generator.train()
        return (np.concatenate(parts)[:count] + 1) * 127.5


def torch_resize(
    images: Num[np.ndarray, "count rows columns channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "count height width channels"]:
    """Images in 0..255 at another size: bilinear with antialias, then rounded."""
    import torch

    parts = []
    for start in range(0, len(images), 1000):
        part = torch.tensor(images[start : start + 1000]).permute(0, 3, 1, 2).float()
        part = torch.nn.functional.interpolate(part, size, mode="bilinear", antialias=True)
        parts.append(part.round().clip(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def undo_resize(
    images: Num[np.ndarray, "count rows columns channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "count height width channels"]:
    """Images in 0..255 at a smaller size: those that `torch_resize` would bring nearest to these
    (least squares), then rounded. Of images that were made larger, they are the originals."""
    import torch

    inverses = []
    for small, large in zip(size, images.shape[1:3], strict=True):
        identity = torch.eye(small, dtype=torch.float64)[None, None]
        resize = torch.nn.functional.interpolate(
            identity, (large, small), mode="bilinear", antialias=True
        )
        inverses.append(np.linalg.pinv(resize[0, 0].numpy()).astype(np.float32))
    parts = []
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.float32)
        part = np.einsum("ih,nhwc,jw->nijc", inverses[0], part, inverses[1], optimize=True)
        parts.append(np.round(part.clip(0, 255)).astype(np.uint8))
    return np.concatenate(parts)


RESIZINGS = {"bilinear": torch_resize, "least squares": undo_resize}
STATISTICS = {"running averages": False, "moments of the batch": True}


class TorchRun(NamedTuple):
    """The tutorial's training for a given time."""

    steps: int
    seen: int  # real images
    seconds: float  # of the loop alone
    threads: int
    # In 0..255, by name in STATISTICS and, where they were resized, in RESIZINGS.
    samples: dict[tuple[str, str], UInt8[np.ndarray, "count height width channels"]]


def torch_train(
    images: UInt8[np.ndarray, "count height width channels"],
    size: tuple[int, int],
    seconds: float,
    seed: int,
    count: int,
) -> TorchRun:
    """Trains as the tutorial does, eager, on images in 0..255 resized to `size`, and draws `count`
    samples, brought back to the size of the images. Runs in a process of its own.

    The loop ends with the step during which the time is over. Before it, three steps that count
    for nothing show whether all cores are faster than one; the faster is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        options = {"size": size, "seconds": seconds, "seed": seed, "count": count}
        Path(folder, "options.json").write_text(json.dumps(options))
        done = subprocess.run([sys.executable, "-m", "experiments.benchmarks.gan_peers", folder])
        if done.returncode:
            raise RunError(f"the process that trains with PyTorch ended with {done.returncode}")
        numbers = json.loads(Path(folder, "numbers.json").read_text())
        with np.load(f"{folder}/samples.npz") as file:
            samples = {tuple(name.split("/")): file[name] for name in file.files}
    return TorchRun(**numbers, samples=samples)


def _train_in(folder: Path) -> None:
    """What the process of `torch_train` does."""
    import torch

    images = np.load(folder / "images.npy")
    options = json.loads((folder / "options.json").read_text())
    original, size = images.shape[1:3], tuple(options["size"])
    if size != original:
        images = torch_resize(images, size)
    scaled = torch.empty(len(images), images.shape[3], *size)
    for start in range(0, len(images), 1000):
        part = torch.from_numpy(images[start : start + 1000]).permute(0, 3, 1, 2)
        scaled[start : start + 1000] = part / 127.5 - 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    paces = {}
    for threads in dict.fromkeys((cores, 1)):
        torch.set_num_threads(threads)
        trial, batches = TorchDCGAN(images.shape[1:]), torch_batches(scaled)
        trial.step(next(batches))
        began = time.perf_counter()
        for _ in range(2):
            trial.step(next(batches))
        paces[threads] = time.perf_counter() - began
    threads = min(paces, key=paces.get)
    torch.set_num_threads(threads)

    torch.manual_seed(options["seed"])
    training, batches, seen = TorchDCGAN(images.shape[1:]), torch_batches(scaled), 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < options["seconds"]:
        real = next(batches)
        training.step(real)
        seen += len(real)

    samples = {}
    for statistics, of_batch in STATISTICS.items():
        drawn = training.sample(options["count"], of_batch)
        if size == original:
            samples[f"{statistics}/"] = np.round(drawn).astype(np.uint8)
            continue
        for resizing, resize in RESIZINGS.items():
            samples[f"{statistics}/{resizing}"] = resize(drawn, original)
    numbers = {"steps": len(training.log), "seen": seen, "seconds": elapsed, "threads": threads}
    np.savez(folder / "samples.npz", **samples)
    (folder / "numbers.json").write_text(json.dumps(numbers))


# Flax.


def flax_loop(name: str) -> Block:
    """Flax Linen's own layers, one jitted function called for each batch; both turns with fakes of
    their own, as in ours."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    task = TASKS[name]
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

    networks = {"generator": Generator(), "discriminator": Discriminator()}
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
        keys = jax.random.split(key)
        latents = [jax.random.normal(key, (len(images), LATENTS)) for key in keys]

        def discriminator_loss(params, fakes):
            statistics = state["discriminator"]["statistics"]
            on_real, statistics = apply("discriminator", params, statistics, images)
            on_fake, statistics = apply("discriminator", params, statistics, fakes)
            loss = criterion(on_real, jnp.ones_like(on_real))
            loss += criterion(on_fake, jnp.zeros_like(on_fake))
            return loss.mean(), statistics

        def generator_loss(params):
            old = state["generator"]["statistics"]
            fakes, statistics = apply("generator", params, old, latents[1])
            rival = state["discriminator"]
            on_fake, _ = apply("discriminator", rival["params"], rival["statistics"], fakes)
            return criterion(on_fake, jnp.ones_like(on_fake)).mean(), statistics

        own = state["generator"]
        fakes, statistics = apply("generator", own["params"], own["statistics"], latents[0])
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
    images, root, at = task.scaled(), jax.random.key(1), 0
    generator = np.random.default_rng(0)

    def batches() -> Iterator[np.ndarray]:
        while True:
            for rows in generator.permutation(len(images)).reshape(-1, BATCH):
                yield images[rows]

    stream = batches()

    def block(steps: int) -> None:
        nonlocal state, at
        losses = []
        for _ in range(steps):
            state, loss = train_step(state, next(stream), jax.random.fold_in(root, at))
            losses.append(loss)
            at += 1
        jax.block_until_ready((state, losses))

    return block


if __name__ == "__main__":
    _train_in(Path(sys.argv[1]))
