"""Training steps of recognisers of speech in ours and PyTorch, for
experiments.benchmarks.speech_recognition.

Spectrograms lie in memory; each step takes a random batch of them. The networks are those of
models/conformer.py and models/speech_lstm.py, with the same number of parameters in both.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Block = Callable[[int], None]
RATE, DECAY, CLIP = 1e-3, 0.01, 1.0
# What a peer found, for `alternate`.
FACTS: dict[str, str] = {}


class Task(NamedTuple):
    """A network and its batches."""

    is_lstm: bool = False
    layers: int = 2
    width: int = 96
    heads: int = 4
    hidden: int = 2
    kernel: int = 15
    batch: int = 32
    frames: int = 550
    bands: int = 40
    labels: int = 11
    room: int = 7
    size: int = 256  # sounds in memory

    def columns(self) -> dict[str, np.ndarray]:
        """Draws spectrograms and texts; the speed does not depend on their values."""
        draw = np.random.default_rng(0)
        shape = self.size, self.frames, self.bands
        return {
            "features": draw.normal(size=shape).astype(np.float32),
            "frames": draw.integers(self.frames // 2, self.frames + 1, self.size, dtype=np.int32),
            "tokens": draw.integers(1, self.labels, (self.size, self.room), dtype=np.int32),
            "text_length": draw.integers(3, self.room + 1, self.size, dtype=np.int32),
        }


TASKS = {
    "conformer": Task(),
    "lstm": Task(is_lstm=True),
    # For trials of the benchmark.
    "tiny": Task(layers=1, width=8, heads=2, kernel=3, batch=2, frames=40, bands=4, size=8),
}


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    import jax

    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data.resident import Resident
    from jaxmodels.models.conformer import ConformerConfig
    from jaxmodels.models.speech_lstm import SpeechLSTMConfig
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.recognition import Connectionist
    from jaxmodels.protocol import Objective

    task = TASKS[name]
    if task.is_lstm:
        options: Any = SpeechLSTMConfig(layers=task.layers, hidden=task.width, width=task.width)
    else:
        sizes = {n: getattr(task, n) for n in ("layers", "width", "heads", "hidden", "kernel")}
        options = ConformerConfig(**sizes)
    optimizer = OptimizerConfig(
        optimizer="adamw", learning_rate=RATE, weight_decay=DECAY, clip=CLIP, schedule="constant"
    )
    objective = Connectionist(options.create(task.labels), optimizer, steps=1000)
    source: Any = Resident(task.columns())
    shapes = jax.eval_shape(
        lambda key: objective.first_params(key, source.spec(task.batch)), jax.random.key(0)
    )
    FACTS["parameters"] = f"{sum(leaf.size for leaf in jax.tree.leaves(shapes)):,}"
    return EngineStep(Objective.of(objective), source, task.batch, length=20).block()


def torch_eager(name: str) -> Block:
    """Runs PyTorch eager."""
    import torch
    from torch.nn import functional

    task = TASKS[name]
    torch.set_num_threads(torch.get_num_threads())
    model = torch_model(task)
    parameters = list(model.parameters())
    FACTS["parameters"] = f"{sum(p.numel() for p in parameters):,}"
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    columns = {name: torch.tensor(column) for name, column in task.columns().items()}

    def block(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(task.size, (task.batch,))
            batch = {name: column[rows] for name, column in columns.items()}
            logits, places = model(batch["features"], batch["frames"])
            lengths = batch["text_length"]
            loss = functional.ctc_loss(
                logits.log_softmax(-1).transpose(0, 1),
                batch["tokens"],
                places,
                lengths,
                reduction="sum",
            )
            (loss / lengths.sum()).backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return block


def torch_model(task: Task):
    """Makes the network as a PyTorch user writes it."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            width = task.width
            self.conv1 = nn.Conv1d(task.bands, width, 3, 2, 1)
            self.conv2 = nn.Conv1d(width, width, 3, 2, 1)
            if task.is_lstm:
                self.blocks = nn.ModuleList(
                    nn.LSTM(width * (1 + (n > 0)), width, batch_first=True, bidirectional=True)
                    for n in range(task.layers)
                )
                width *= 2
                self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(task.layers))
                # Ours have one bias where torch's have two.
                for lstm in self.blocks:
                    for name, parameter in list(lstm.named_parameters()):
                        if name.startswith("bias_hh"):
                            parameter.requires_grad_(False)
            else:
                make = _torch_block_class(task)
                self.blocks = nn.ModuleList(make() for _ in range(task.layers))
                self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, task.labels)

        def forward(self, features, frames):
            x = _torch_standardized(features, frames)
            for conv in (self.conv1, self.conv2):
                x = nn.functional.gelu(conv(x.transpose(1, 2)), approximate="tanh").transpose(1, 2)
                frames = (frames + 1) // 2
                valid = torch.arange(x.shape[1]) < frames[:, None]
                x = x * valid[..., None]
            if task.is_lstm:
                for lstm, norm in zip(self.blocks, self.norms):
                    x = norm(lstm(x)[0])
                return self.head(x), frames
            turns = _torch_turns(task, x.shape[1])
            for block in self.blocks:
                x = block(x, valid, turns)
            return self.head(self.norm(x)), frames

    return Model()


def _torch_standardized(features, frames):
    import torch

    counts = (torch.arange(features.shape[1]) < frames[:, None])[..., None]
    number = frames[:, None, None]
    mean = (features * counts).sum(1, keepdim=True) / number
    centred = (features - mean) * counts
    variance = centred.square().sum(1, keepdim=True) / number
    return centred * torch.rsqrt(variance + 1e-5)


def _torch_turns(task: Task, length: int):
    import torch

    pairs = task.width // task.heads // 2
    frequencies = 10_000.0 ** -(torch.arange(pairs) / pairs)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cos(angles), torch.sin(angles)


def _torch_block_class(task: Task):
    import torch
    from torch import nn
    from torch.nn import functional

    width = task.width

    def mlp():
        wide = task.hidden * width
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, wide), nn.SiLU(), nn.Linear(wide, width)
        )

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp1, self.mlp2 = mlp(), mlp()
            self.attention_norm, self.attention = nn.LayerNorm(width), nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.convolution_norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
            self.deep = nn.Conv1d(width, width, task.kernel, padding=task.kernel // 2, groups=width)
            self.deep_norm, self.mix = nn.LayerNorm(width), nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)

        def forward(self, x, valid, turns):
            x = x + 0.5 * self.mlp1(x)
            x = x + self._attend(self.attention_norm(x), valid, turns)
            y = functional.glu(self.gate(self.convolution_norm(x))) * valid[..., None]
            y = self.deep(y.transpose(1, 2)).transpose(1, 2)
            x = x + self.mix(functional.silu(self.deep_norm(y)))
            return self.norm(x + 0.5 * self.mlp2(x))

        def _attend(self, x, valid, turns):
            batch, length, _ = x.shape
            split = batch, length, task.heads, width // task.heads
            parts = (part.view(split).transpose(1, 2) for part in self.attention(x).chunk(3, -1))
            query, key, value = parts
            query, key = _turned(query, turns), _turned(key, turns)
            mask = valid[:, None, None]
            y = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return self.out(y.transpose(1, 2).reshape(batch, length, width))

    def _turned(x, turns):
        cos, sin = turns
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    return Block
