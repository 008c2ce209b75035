"""The training step of BC-ResNet in ours and in PyTorch, for
experiments.benchmarks.speech_commands and the parity test.

A task is SCALE:BATCH, as "1:100". Rows are a second of 8 kHz. Both compute the spectrograms of each
batch inside of the step (PyTorch by torch.stft and one product, with the same filters), see a new
batch in random order at every step, and update by SGD with momentum 0.9 and dropout of 0.1.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Block = Callable[[int], None]
RATE, BANDS, CLASSES, STORED = 8000, 40, 10, 20  # batches of noise that are stored
LEARNING_RATE, MOMENTUM, DROPOUT = 0.1, 0.9, 0.1


def task_of(task: str) -> tuple[float, int]:
    """Returns the scale of the network and the size of a batch."""
    scale, _, batch = task.partition(":")
    return float(scale), int(batch)


def sounds(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws noise of 16 bits with labels."""
    draw = np.random.default_rng(0)
    samples = draw.normal(0, 3000, (STORED * batch, RATE)).astype(np.int16)
    return samples, draw.integers(0, CLASSES, STORED * batch).astype(np.int32)


def ours(task: str) -> Block:
    """Runs our engine as experiments.speech_commands does."""
    from functools import partial

    from experiments.benchmarks.engine_block import EngineStep
    from experiments.speech_commands import SpectrogramConfig, spectrograms
    from jaxmodels.data import Resident
    from jaxmodels.models.bcresnet import BCResNetConfig
    from jaxmodels.objectives.classifier import Classifier
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.preprocessing import with_preprocessing

    scale, batch = task_of(task)
    samples, labels = sounds(batch)
    config = SpectrogramConfig()
    rule = OptimizerConfig(optimizer="momentum", learning_rate=LEARNING_RATE, schedule="constant")
    classifier = Classifier(
        BCResNetConfig(scale=scale).create(CLASSES),
        CLASSES,
        rule,
        steps=1,
        dropout=DROPOUT,
        input_name="spectrogram",
    )
    objective = with_preprocessing(classifier, partial(spectrograms, config, config.mel(RATE)))
    length = np.full(len(labels), RATE, np.int32)
    source = Resident({"sound": samples, "length": length, "label": labels})
    return EngineStep(objective, source, batch, length=5).block()


def torch_eager(task: str) -> Block:
    """Runs PyTorch as it is written."""
    return _torch(task, lambda step: step)


def torch_compiled(task: str) -> Block:
    """Runs PyTorch's compiler on the forward pass and the loss."""
    import torch

    return _torch(task, torch.compile)


def _torch(task: str, wrap: Callable) -> Block:
    import os

    import torch
    import torch.nn.functional as F

    from experiments.benchmarks.alternate import THREADS
    from experiments.speech_commands import SpectrogramConfig

    torch.set_num_threads(int(os.environ.get(THREADS, "1")))
    torch.manual_seed(0)
    scale, batch = task_of(task)
    samples, labels = sounds(batch)
    samples, labels = torch.from_numpy(samples), torch.from_numpy(labels).long()
    mel = SpectrogramConfig().mel(RATE)
    window, filters = torch.hann_window(mel.window), torch.from_numpy(mel.filters())
    model = torch_bcresnet(int(8 * scale), CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def features(rows):
        spectrum = torch.stft(
            samples[rows].float() / 32768, mel.size, mel.hop, mel.window, window,
            return_complex=True,
        )  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()
        return (power.transpose(1, 2) @ filters + mel.floor).log().transpose(1, 2)[:, None]

    loss_of = wrap(lambda x, y: F.cross_entropy(model(x), y))

    def block(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(len(samples), (batch,))
            loss = loss_of(features(rows), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return block


def torch_bcresnet(base: int, classes: int) -> "nn.Module":
    """Makes BC-ResNet of [batch, 1, bands, frames] in PyTorch, as section 2 and table 1 of Kim et
    al. 2021 and the authors' code have it."""
    import torch
    from torch import nn

    def convolution(inputs, outputs, size=1, **options):
        return nn.Conv2d(inputs, outputs, size, bias=False, **options)

    class RangeNorm(nn.Module):
        def __init__(self, channels, ranges=5):
            super().__init__()
            self.ranges, self.norm = ranges, nn.BatchNorm2d(channels * ranges)

        def forward(self, x):
            batch, channels, rows, columns = x.shape
            parts = x.reshape(batch, channels * self.ranges, rows // self.ranges, columns)
            return self.norm(parts).reshape(x.shape)

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stage, stride):
            super().__init__()
            self.change = None
            if inputs != outputs:
                self.change = nn.Sequential(
                    convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()
                )
            reach = 2**stage
            self.frequencies = convolution(
                outputs, outputs, (3, 1), stride=(stride, 1), padding=(1, 0), groups=outputs
            )
            self.norm = RangeNorm(outputs)
            self.times = convolution(
                outputs, outputs, (1, 3), padding=(0, reach), dilation=(1, reach), groups=outputs
            )
            self.times_norm, self.mix = nn.BatchNorm2d(outputs), convolution(outputs, outputs)
            self.dropout = nn.Dropout2d(DROPOUT)

        def forward(self, x):
            y = x if self.change is None else self.change(x)
            y = self.norm(self.frequencies(y))
            mean = y.mean(2, keepdim=True)
            mean = torch.nn.functional.silu(self.times_norm(self.times(mean)))
            y = y + self.dropout(self.mix(mean))
            return torch.relu(y if self.change is not None else y + x)

    widths = [int(base * multiple) for multiple in (2, 1, 1.5, 2, 2.5, 4)]
    stem = [
        convolution(1, widths[0], 5, stride=(2, 1), padding=2),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    units = []
    for stage, count in enumerate((2, 2, 4, 4)):
        for place in range(count):
            inputs = widths[stage + bool(place)]
            stride = 2 if stage in (1, 2) and place == 0 else 1
            units.append(Unit(inputs, widths[stage + 1], stage, stride))
    head = [
        convolution(widths[4], widths[4], 5, padding=(0, 2), groups=widths[4]),
        convolution(widths[4], widths[5]),
        nn.BatchNorm2d(widths[5]),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(widths[5], classes),
    ]
    return nn.Sequential(*stem, *units, *head)
