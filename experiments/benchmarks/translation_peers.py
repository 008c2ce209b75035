"""Training steps of an encoder-decoder transformer in ours and PyTorch, for
experiments.benchmarks.translation.

Both have the same architecture: normalised first, sinusoidal positions, one table for source,
target and head, ReLU, biases, label smoothing of 0.1, AdamW with clipping, and no dropout, which
PyTorch applies at more places. Batches have sentences of random lengths, filled up to one length,
with masks, and are new at every step. The loss is that of real tokens.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.torch_device import torch_device

Block = Callable[[int], None]
RATE, DECAY, CLIP, SMOOTHING = 1e-3, 0.01, 1.0, 0.1
START, PADDING = 0, -1


class Task(NamedTuple):
    """A network and its batches."""

    layers: int
    heads: int
    width: int
    length: int  # of a source and of a target
    batch: int
    vocabulary: int = 8000
    size: int = 4096  # pairs

    def pairs(self) -> dict[str, np.ndarray]:
        """Draws pairs; half of the lengths are at least half of the longest."""
        generator = np.random.default_rng(0)
        columns = {}
        for side in ("source", "target"):
            tokens = generator.integers(1, self.vocabulary, (self.size, self.length), np.int32)
            lengths = generator.integers(self.length // 2, self.length + 1, (self.size, 1))
            columns[side] = np.where(np.arange(self.length) < lengths, tokens, PADDING)
        columns["target"][:, 0] = START
        return columns


TASKS = {
    # The transformer that the presets of Tatoeba train, on the commonest shape of a batch.
    "tatoeba": Task(3, 4, 256, 16, 128),
    "small": Task(2, 4, 96, 32, 64, vocabulary=73),
    "tiny": Task(1, 2, 16, 6, 4, vocabulary=11, size=8),
}


def our_objective(task: Task) -> Any:
    """Makes our objective of a task."""
    from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.sequence_to_sequence import SequenceToSequence

    config = EncoderDecoderConfig(
        width=task.width,
        heads=task.heads,
        encoder_layers=task.layers,
        decoder_layers=task.layers,
    )
    return SequenceToSequence(
        model=config.create(task.vocabulary, (task.length, task.length)),
        optimizer=OptimizerConfig(
            optimizer="adamw",
            learning_rate=RATE,
            schedule="constant",
            weight_decay=DECAY,
            clip=CLIP,
        ),
        steps=1,
        start=START,
        end=START,
        most=task.length,
        label_smoothing=SMOOTHING,
    )


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data import Resident
    from jaxmodels.protocol import Objective

    task = TASKS[name]
    source: Any = Resident(task.pairs())
    return EngineStep(Objective.of(our_objective(task)), source, task.batch).block()


def torch_eager(name: str) -> Block:
    """Runs PyTorch eager, on batches cut from tensors in memory."""
    return _torch_block(TASKS[name])


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over the model and its loss."""
    return _torch_block(TASKS[name], compiled=True)


def torch_model(task: Task) -> Any:
    """Makes the model of `torch.nn.Transformer` with its embeddings and loss."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(task.vocabulary, task.width)
            nn.init.normal_(self.embedding.weight, std=task.width**-0.5)
            with warnings.catch_warnings():
                # Of nested tensors, which this order of norms does without.
                warnings.simplefilter("ignore")
                self.network = nn.Transformer(
                    task.width,
                    task.heads,
                    task.layers,
                    task.layers,
                    4 * task.width,
                    dropout=0.0,
                    batch_first=True,
                    norm_first=True,
                )
            half = task.width // 2
            angles = np.arange(task.length)[:, None] * 10_000 ** (-np.arange(half) / half)
            table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
            self.register_buffer("positions", torch.tensor(table, dtype=torch.float32))
            mask = nn.Transformer.generate_square_subsequent_mask(task.length - 1)
            self.register_buffer("mask", mask.isinf())

        def embed(self, tokens):
            embedded = self.embedding(tokens.clamp(min=0)) * task.width**0.5
            positions: Any = self.positions
            return embedded + positions[: tokens.shape[1]]

        def forward(self, source, target, smoothing=SMOOTHING):
            padding = source == PADDING
            hidden = self.network(
                self.embed(source),
                self.embed(target[:, :-1]),
                tgt_mask=self.mask,
                tgt_is_causal=True,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            logits = hidden @ self.embedding.weight.T
            return cross_entropy(
                logits.flatten(0, 1),
                target[:, 1:].flatten(),
                ignore_index=PADDING,
                label_smoothing=smoothing,
            )

    return Translator()


def _torch_block(task: Task, compiled: bool = False) -> Block:
    import torch

    device = torch_device()
    torch.manual_seed(0)
    model = torch_model(task).to(device)
    columns = {
        name: torch.tensor(column, dtype=torch.int64, device=device)
        for name, column in task.pairs().items()
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    loss_of: Any = torch.compile(model) if compiled else model
    generator = torch.Generator().manual_seed(0)

    def block(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(task.size, (task.batch,), generator=generator).to(device)
            loss = loss_of(columns["source"][rows], columns["target"][rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
        loss.item()

    return block
