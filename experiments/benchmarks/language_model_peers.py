"""Training steps of language models in ours and PyTorch, for experiments.benchmarks.language_model
and experiments.benchmarks.accelerator.

All of a task but "simple" have GPT-2's architecture (learned positions, normalisation first, tied
head) as nanoGPT trains it, without biases and dropout, and nanoGPT's AdamW (decay of kernels and
tables alone, clipping). "simple" is the model of modded-nanogpt's train_gpt_simple.py with Muon, in
batches of 524,288 tokens. Parameters are float32, products of the type of the task (PyTorch: by
autocast). All see a new batch of random windows at every step. "124m:16" is "124m" with batches of
16 windows, "simple:16" is "simple" with its gradient in parts of 16.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.benchmarks.torch_device import autocast, synchronize, torch_device

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
    bfloat16: bool = False
    parts: int = 1  # of a batch, whose gradients are accumulated
    is_simple: bool = False  # the model of train_gpt_simple.py in place of GPT-2

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
    # Words as in nanoGPT and train_gpt_simple.py: GPT-2's 50,257 up to a multiple of 128.
    "124m": Task(12, 12, 768, 1024, 32, 50_304, 1 << 20, bfloat16=True),
    "simple": Task(12, 6, 768, 1024, 512, 50_304, 1 << 20, True, 16, is_simple=True),
    # For trials of the benchmarks.
    "tiny": Task(1, 2, 16, 8, 2, size=100),
    "tiny_simple": Task(1, 2, 16, 8, 4, 65, 100, True, 2, is_simple=True),
}
# What a peer found, for `alternate`.
FACTS: dict[str, str] = {}
_WIDE = 4096  # tokens of a block of the head
# train_gpt_simple.py; its scale of attention is 0.12.
_SIMPLE = {
    "rotary_base": 1024.0,
    "rotary_fraction": 0.5,
    "attention_scale": 0.12 * 128**0.5,
    "value_embeddings": False,
    "residual_scales": False,
}


def task_of(name: str) -> Task:
    """Finds a task such as "124m", or "124m:8", of which 8 windows are computed at a time."""
    name, _, windows = name.partition(":")
    task = TASKS[name]
    if not windows:
        return task
    if task.parts > 1:
        return task._replace(parts=task.batch // int(windows))
    return task._replace(batch=int(windows))


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    return _checked(name, our_step(name))


def ours_unrolled(name: str) -> Block:
    """Runs ours with the layers written out, and with the head in blocks of 4,096 tokens."""
    return _checked(name, our_step(name, scan_layers="off", head_block=_WIDE))


def _checked(name: str, step: "EngineStep") -> Block:
    """Runs a step whose compiled program has the attention that is chosen for it, and notes which.

    Raises:
      RunError: it has another.
    """
    from jaxmodels.models.layers.attention import assert_uses

    task, program = task_of(name), step.program()
    FACTS["attention"] = our_model(task).attention_kind(task.context)
    assert_uses(program.compile().as_text() or "", FACTS["attention"])
    return step.block(program)


def ours_on_two(name: str) -> Block:
    """Runs our engine with the batch divided over two devices, of a CPU its cores."""
    import os

    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2".strip()
    return our_step(name)._replace(devices=2).block()


def our_model(task: Task, scan_layers: str = "auto") -> Any:
    """Makes our model of a task."""
    import jax.numpy as jnp

    from jaxmodels.models.language_models import LanguageModels
    from jaxmodels.models.options import with_options

    if task.is_simple:
        models = LanguageModels(model="gpt", scan_layers=scan_layers)
        sizes = {"depth": task.layers, "width": task.width, "head_size": task.width // task.heads}
        models = with_options(models, **sizes, **_SIMPLE)
    else:
        models = LanguageModels(model="gpt2", scan_layers=scan_layers)
        sizes = {name: getattr(task, name) for name in ("layers", "heads", "width")}
        models = with_options(models, **sizes, bias=False)
    dtype = jnp.bfloat16 if task.bfloat16 else jnp.float32
    return models.create(task.vocabulary, task.context, dtype)


def our_step(name: str, scan_layers: str = "auto", head_block: int = 0) -> "EngineStep":
    """Makes our step on windows of tokens that lie in memory."""
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data import Resident
    from jaxmodels.protocol import Objective

    task = task_of(name)
    count = (task.size - 1) // task.context
    places = np.arange(count)[:, None] * task.context + np.arange(task.context + 1)
    source = Resident({"tokens": task.tokens()[places]})
    objective = NextToken(our_model(task, scan_layers), task.parts, task.is_simple, head_block)
    return EngineStep(Objective.of(objective), source, task.batch)


@dataclass(frozen=True)
class NextToken:
    """The smallest objective of the next token, which is nanoGPT's: no metrics but the loss.

    head_block: tokens whose logits exist at a time; 0: the default.
    """

    model: Any
    parts: int = 1
    muon: bool = False
    head_block: int = 0

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
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
        total = head_cross_entropy(
            hidden,
            kernel,
            tokens[:, 1:],
            logit_cap=self.model.logit_cap,
            tied=self.model.tied,
            block=self.head_block,
        ).total
        loss = Mean(total, np.int32(tokens[:, 1:].size))
        return loss, carried, {"loss": loss}

    def step(self, state, batch, key):
        """Makes one update."""
        from jaxmodels.objectives.descent import descend
        from jaxmodels.objectives.gradients import gradients_of

        gradients, _, sums = gradients_of(self.loss, state["params"], {}, batch, key, self.parts)
        return descend(self._optimizer(), 1, state, gradients), sums

    def evaluate(self, state, batch, key):
        """Computes the loss of a batch."""
        return self.loss(state["params"], {}, batch, key)[2]

    @staticmethod
    def summarize(sums):
        """Computes the mean loss."""
        return {"loss": sums["loss"].value()}

    def _optimizer(self):
        from jaxmodels.objectives.optimizers import OptimizerConfig

        if self.muon:
            return OptimizerConfig(
                optimizer="muon_jordan", learning_rate=0.025, schedule="constant", weight_decay=0.05
            )
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
    return _torch_block(task_of(name))


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over the model and its loss, as nanoGPT does."""
    return _torch_block(task_of(name), compiled=True)


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

    device = torch_device()
    tokens = torch.tensor(task.tokens()).long().to(device)
    places = torch.arange(task.context + 1, device=device)
    while True:
        starts = torch.randint(len(tokens) - task.context, (task.batch, 1), device=device)
        windows = tokens[starts + places]
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
            with autocast(task.bfloat16):
                loss = run(*next(batches))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        synchronize()

    return block
