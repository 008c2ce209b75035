"""The DCGAN of PyTorch's tutorial: its networks, its step, its training for a given time.

torch is imported where it is used: the other peers of experiments.benchmarks.gan run without it.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Num, UInt8

from experiments.benchmarks.alternate import cores
from experiments.benchmarks.torch_device import torch_device
from jaxmodels.errors import RunError
from jaxmodels.models.dcgan import halved_sizes
from jaxmodels.models.gan_layers import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH, LATENTS, WIDTH = 128, 100, 64
RATE, BETAS = 2e-4, (0.5, 0.999)


def torch_batches(images: "torch.Tensor") -> Iterator["torch.Tensor"]:
    """Yields batches, each epoch in another order; the last of an epoch may be smaller."""
    import torch

    while True:
        for rows in torch.randperm(len(images), device=images.device).split(BATCH):
            yield images[rows]


def torch_networks(shape: Shape) -> tuple["nn.Module", "nn.Module"]:
    """Makes generator and discriminator of the tutorial, for images of any size."""
    from torch import nn

    *larger, smallest = halved_sizes(shape)
    widths = [shape[2]] + [WIDTH * 2**layer for layer in range(len(larger))]
    ups = [nn.ConvTranspose2d(LATENTS, widths[-1], smallest, bias=False)]
    downs = []
    for layer, size in enumerate(larger):
        few, many = widths[layer : layer + 2]
        # Even sizes have padding 1, as in the tutorial; odd ones are halved rounding up.
        odd = [side % 2 for side in size]
        options = {"stride": 2, "padding": [1 + rest for rest in odd], "bias": False}
        downs += [nn.Conv2d(few, many, 4, **options)]
        downs += [nn.BatchNorm2d(many)] if layer else []
        downs += [nn.LeakyReLU(0.2, inplace=True)]
        up = nn.ConvTranspose2d(many, few, 4, output_padding=odd, **options)
        # Layers are inserted at the front, because the loop starts at the image.
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

        self._device = torch_device()
        self._generator, discriminator = torch_networks(shape)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        for network in (self._generator, discriminator):
            network.to(self._device, memory_format=self._format)
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=RATE, betas=BETAS)
            for network in (self._generator, discriminator)
        )
        compiler = torch.compile if compiled else lambda network: network
        self._generate, self._discriminate = compiler(self._generator), compiler(discriminator)
        self._criterion = torch.nn.BCELoss()
        self.log: list[tuple] = []

    def step(self, real: "torch.Tensor") -> None:
        """Updates both networks, operation for operation as the tutorial: the discriminator learns
        from real images and from fakes, with a backward pass each; then the generator learns from
        the same fakes and the updated discriminator. Logs five numbers."""
        import torch

        real = real.to(memory_format=self._format)
        self._discriminate.zero_grad()
        target = torch.full((len(real),), 1.0, device=self._device)
        output = self._discriminate(real).view(-1)
        real_loss = self._criterion(output, target)
        real_loss.backward()
        on_real = self._logged(output.mean())

        fake = self._generate(torch.randn(len(real), LATENTS, 1, 1, device=self._device))
        target.fill_(0.0)
        output = self._discriminate(fake.detach()).view(-1)
        fake_loss = self._criterion(output, target)
        fake_loss.backward()
        on_fake = self._logged(output.mean())
        self._discriminator_optimizer.step()

        self._generate.zero_grad()
        target.fill_(1.0)
        output = self._discriminate(fake).view(-1)
        loss = self._criterion(output, target)
        loss.backward()
        on_fake_after = self._logged(output.mean())
        self._generator_optimizer.step()
        both = self._logged(real_loss + fake_loss)
        self.log.append((both, self._logged(loss), on_real, on_fake, on_fake_after))

    def _logged(self, number: "torch.Tensor") -> "float | torch.Tensor":
        """Reads a number for the log, as the tutorial does. On a GPU it stays there, so that the
        device never waits for the host, as in ours."""
        return number.item() if self._device.type == "cpu" else number.detach()

    def sample(
        self, count: int, batch_statistics: bool
    ) -> Float[np.ndarray, "count height width channels"]:
        """Draws images in 0..255, not rounded; with `batch_statistics` BatchNorm normalises by the
        moments of each batch of 128, as in training, instead of its running averages."""
        import torch

        self._generator.train(batch_statistics)
        parts = []
        with torch.no_grad():
            # Every batch is whole, because moments of a few images would differ.
            for _ in range(-(-count // BATCH)):
                latents = torch.randn(BATCH, LATENTS, 1, 1, device=self._device)
                parts.append(self._generator(latents).permute(0, 2, 3, 1).cpu().numpy())
        self._generator.train()
        return (np.concatenate(parts)[:count] + 1) * 127.5


def torch_resize(
    images: Num[np.ndarray, "count rows columns channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "count height width channels"]:
    """Resizes images in 0..255, bilinear with antialias, and rounds."""
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
    """Finds the smaller images that `torch_resize` brings nearest to images in 0..255 (least
    squares), and rounds. If `torch_resize` enlarged the images, it finds the originals."""
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
    # In 0..255, by names in STATISTICS and in RESIZINGS ("" if they were not resized).
    samples: dict[tuple[str, str], UInt8[np.ndarray, "count height width channels"]]


def torch_train(
    images: UInt8[np.ndarray, "count height width channels"],
    size: tuple[int, int],
    seconds: float,
    seed: int,
    count: int,
) -> TorchRun:
    """Trains the tutorial in a process of its own on images in 0..255 resized to `size`, and draws
    `count` samples, resized to the size of the images.

    The last step is the one during which the time runs out. Before the time starts, a few steps
    with one core and with all choose the faster.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        options = {"size": size, "seconds": seconds, "seed": seed, "count": count}
        Path(folder, "options.json").write_text(json.dumps(options))
        done = subprocess.run([sys.executable, "-m", "experiments.benchmarks.torch_dcgan", folder])
        if done.returncode:
            raise RunError(f"the process that trains with PyTorch ended with {done.returncode}")
        numbers = json.loads(Path(folder, "numbers.json").read_text())
        with np.load(f"{folder}/samples.npz") as file:
            samples = {tuple(name.split("/")): file[name] for name in file.files}
    return TorchRun(**numbers, samples=samples)


def _train_in(folder: Path) -> None:
    """Trains in the process that `torch_train` starts."""
    import torch

    images = np.load(folder / "images.npy")
    options = json.loads((folder / "options.json").read_text())
    original, size = images.shape[1:3], tuple(options["size"])
    if size != original:
        images = torch_resize(images, size)
    scaled = torch.empty(len(images), images.shape[3], *size, device=torch_device())
    for start in range(0, len(images), 1000):
        part = torch.from_numpy(images[start : start + 1000]).permute(0, 3, 1, 2)
        scaled[start : start + 1000] = part / 127.5 - 1
    paces = {}
    for threads in dict.fromkeys((cores(), 1)):
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


if __name__ == "__main__":
    _train_in(Path(sys.argv[1]))
