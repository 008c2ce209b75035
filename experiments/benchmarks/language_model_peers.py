"""The same training step of a GPT-2 in ours and PyTorch, for experiments.benchmarks.language_model.

All have GPT-2's architecture (learned positions, normalisation first, tied head) as nanoGPT trains
it, without biases and dropout, nanoGPT's AdamW (decay of kernels and tables alone, clipping) and
float32 parameters and products, and see a new batch of random windows at every step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.benchmarks.torch_device import synchronize, torch_device

if TYPE_CHECKING:
    from experiments.benchmarks.engine_block import EngineStep

Block = Callable[[int], None]
RATE, BETAS, EPSILON, DECAY, CLIP = 1e-3, (0.9, 0.99), 1e-8, 0.1, 1.0  # nanoGPT's train.py


class Task(NamedTuple):
    """A network and its batches."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    vocabulary: int = 65
    size: int = 200_000  # tokens

    def tokens(self) -> np.ndarray:
        """Draws tokens; the speed does not depend on their values."""
        return np.random.default_rng(0).integers(0, self.vocabulary, self.size, dtype=np.int32)

    def flops(self) -> int:
        """Counts the operations of a training step: three passes of the products, of which causal
        attention needs half."""
        tokens = self.batch * self.context
        kernels = 12 * self.layers * self.width**2 + self.vocabulary * self.width
        attention = self.layers * self.context * self.width  # of 2 * context * width, half
        return 6 * tokens * (kernels + attention)


TASKS = {
    # nanoGPT's README: Shakespeare by characters, on a CPU and, with a smaller batch, on a GPU.
    "small": Task(4, 4, 128, 64, 12),
    "medium": Task(6, 6, 384, 256, 8),
    # For trials of the benchmarks.
    "tiny": Task(1, 2, 16, 8, 2, size=100),
}


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    return our_step(name).block()


def ours_on_two(name: str) -> Block:
    """Runs our engine with the batch divided over two devices, of a CPU its cores."""
    import os

    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2".strip()
    return our_step(name)._replace(devices=2).block()


def our_step(name: str) -> "EngineStep":
    """Makes our step on windows of tokens that lie in memory."""
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data import Resident
    from jaxmodels.models.language_models import create_language_model
    from jaxmodels.protocol import Objective

    task = TASKS[name]
    count = (task.size - 1) // task.context
    places = np.arange(count)[:, None] * task.context + np.arange(task.context + 1)
    source = Resident({"tokens": task.tokens()[places]})
    model = create_language_model(
        "gpt2",
        task.vocabulary,
        task.context,
        layers=task.layers,
        heads=task.heads,
        width=task.width,
        bias=False,
    )
    return EngineStep(Objective.of(NextToken(model)), source, task.batch)


@dataclass(frozen=True)
class NextToken:
    """The smallest objective of the next token, which is nanoGPT's: no metrics but the loss."""

    model: object

    @property
    def hyperparameters(self) -> Mapping[str, float]:
        """The numbers of AdamW."""
        return self._optimizer().hyperparameters()

    def init(self, key, spec, hyperparameters):
        """Makes the state at step 0."""
        from jaxmodels.objectives.descent import initial_state

        params = self.model.init(key, np.zeros((1, 2), np.int32))["params"]
        return initial_state(self._optimizer(), {"params": params}, hyperparameters)

    def loss(self, params, carried, batch, key):
        """Computes the sum of the losses of all tokens."""
        from jaxmodels.ops import head_cross_entropy
        from jaxmodels.protocol import Mean

        tokens = batch["tokens"]
        hidden, kernel = self.model.apply(
            {"params": params}, tokens[:, :-1], train=True, method="hidden_and_head"
        )
        total = head_cross_entropy(hidden, kernel, tokens[:, 1:], tied=True).total
        loss = Mean(total, np.int32(tokens[:, 1:].size))
        return loss, carried, {"loss": loss}

    def step(self, state, batch, key):
        """Makes one update."""
        from jaxmodels.objectives.descent import descend
        from jaxmodels.objectives.gradients import gradients_of

        gradients, _, sums = gradients_of(self.loss, state["params"], {}, batch, key)
        return descend(self._optimizer(), 1, state, gradients), sums

    def evaluate(self, state, batch, key):
        """Computes the loss of a batch."""
        return self.loss(state["params"], {}, batch, key)[2]

    @staticmethod
    def summarize(sums):
        """Computes the mean loss."""
        return {"loss": sums["loss"].value()}

    @staticmethod
    def _optimizer():
        from jaxmodels.objectives.optimizers import OptimizerConfig

        return OptimizerConfig(
            optimizer="adamw",
            learning_rate=RATE,
            schedule="constant",
            momentum=BETAS[0],
            second_momentum=BETAS[1],
            epsilon=EPSILON,
            weight_decay=DECAY,
            clip=CLIP,
        )


def torch_eager(name: str) -> Block:
    """Runs PyTorch eager, on batches cut from one tensor in memory."""
    return _torch_block(TASKS[name])


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over the model and its loss, as nanoGPT does."""
    return _torch_block(TASKS[name], compiled=True)


def torch_model(task: Task):
    """Makes a GPT-2 as a PyTorch user writes it: one product for query, key and value, and fused
    attention."""
    import torch
    from torch import nn
    from torch.nn import functional

    def linear(inputs, outputs, deviation=0.02):
        layer = nn.Linear(inputs, outputs, bias=False)
        nn.init.normal_(layer.weight, std=deviation)
        return layer

    small = 0.02 / (2 * task.layers) ** 0.5

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            width = task.width
            self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
            self.attention = linear(width, 3 * width)
            self.out = linear(width, width, small)
            self.up, self.down = linear(width, 4 * width), linear(4 * width, width, small)

        def forward(self, x):
            batch, length, width = x.shape
            parts = self.attention(self.norm1(x)).split(width, dim=2)
            split = batch, length, task.heads, width // task.heads
            query, key, value = (part.view(split).transpose(1, 2) for part in parts)
            y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.out(y.transpose(1, 2).contiguous().view(batch, length, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(task.vocabulary, task.width)
            self.positions = nn.Embedding(task.context, task.width)
            for table in (self.tokens, self.positions):
                nn.init.normal_(table.weight, std=0.02)
            self.layers = nn.ModuleList(Layer() for _ in range(task.layers))
            self.norm = nn.LayerNorm(task.width, bias=False)

        def forward(self, tokens, targets):
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.tokens(tokens) + self.positions(places)
            for layer in self.layers:
                x = layer(x)
            logits = functional.linear(self.norm(x), self.tokens.weight)
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Model().to(torch_device())


def _torch_batches(task: Task) -> Iterator:
    import torch

    tokens = torch.tensor(task.tokens()).long()
    while True:
        starts = torch.randint(len(tokens) - task.context, (task.batch,)).tolist()
        windows = torch.stack([tokens[at : at + task.context + 1] for at in starts])
        windows = windows.to(torch_device())
        yield windows[:, :-1], windows[:, 1:]


def _torch_block(task: Task, compiled: bool = False) -> Block:
    import torch

    torch.set_num_threads(torch.get_num_threads())
    model = torch_model(task)
    run = torch.compile(model) if compiled else model
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = torch_device().type == "cuda"
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON, fused=fused)
    batches = _torch_batches(task)

    def block(steps: int) -> None:
        for _ in range(steps):
            loss = run(*next(batches))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        synchronize()

    return block
