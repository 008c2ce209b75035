"""Training steps of classifiers of sentences and of a summarizer in ours and PyTorch, for
experiments.benchmarks.sentences.

Both have the same network, with the dropout of our presets at the same places, and AdamW. Rows of
random tokens lie in memory; each step takes a random batch of them. Their lengths vary as those of
the data that a task is named after, and they are filled up to one length, with masks.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Block = Callable[[int], None]
RATE, DECAY = 1e-3, 0.01
CLASSES = 2
PADDING = -1  # of sentences
_NO_WORD, _UNKNOWN, _START, _END = range(4)  # of documents, as `data.documents.words` has them
_COPIED = 0.3  # share of the words of a summary that its document has
_NOTHING: Mapping[str, Any] = MappingProxyType({})
# What a peer found, for `alternate`.
FACTS: dict[str, int] = {}


class Task(NamedTuple):
    """A model and its batches.

    lengths: mean and deviation of the tokens of a row, which has room for `length`.
    summary: the same of a summary, with its room; none: rows are classified.
    options: of the model, where they are not its own.
    """

    model: str
    batch: int
    length: int
    vocabulary: int
    lengths: tuple[float, float]
    dropout: float
    options: Mapping[str, Any] = _NOTHING
    summary: tuple[int, float, float] | None = None
    count: int = 1024  # rows in memory

    def columns(self) -> dict[str, np.ndarray]:
        """Draws the rows."""
        draw = np.random.default_rng(0)
        if self.summary:
            return self._documents(draw)
        tokens = draw.integers(0, self.vocabulary, (self.count, self.length), np.int32)
        there = self._there(draw, self.length, *self.lengths)
        parts = draw.integers(0, 2, tokens.shape, np.int32) if self.model == "bag" else 0
        return {
            "tokens": np.where(there, tokens, PADDING),
            "segments": np.where(there, parts, 0).astype(np.int32),
            "label": draw.integers(0, CLASSES, self.count, np.int32),
        }

    def _documents(self, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """Draws documents, of which a tenth of the words are in no vocabulary, and summaries."""
        room, *lengths = self.summary
        there = self._there(draw, self.length, *self.lengths)
        source = draw.integers(_END + 1, self.vocabulary, there.shape, np.int32)
        source = np.where(draw.random(there.shape) < 0.1, _UNKNOWN, source)
        places = np.arange(self.length, dtype=np.int32)
        copied = np.where(source == _UNKNOWN, self.vocabulary + places, source)
        target = draw.integers(_END + 1, self.vocabulary, (self.count, room), np.int32)
        chosen = draw.integers(0, there.sum(1)[:, None], target.shape)
        from_source = np.take_along_axis(copied, chosen, 1)
        target = np.where(draw.random(target.shape) < _COPIED, from_source, target)
        target[:, 0] = _START
        written = self._there(draw, room, *lengths)
        ends = written & ~np.pad(written[:, 1:], ((0, 0), (0, 1)))
        return {
            "source": np.where(there, source, _NO_WORD).astype(np.int32),
            "copied": np.where(there, copied, _NO_WORD).astype(np.int32),
            "target": np.where(ends, _END, np.where(written, target, _NO_WORD)).astype(np.int32),
        }

    def _there(self, draw: Any, room: int, mean: float, deviation: float) -> np.ndarray:
        """Draws which tokens of a row are there, three at least."""
        counts = draw.normal(mean, deviation, (self.count, 1)).clip(3, room)
        return np.arange(room) < counts.astype(int)


_MR = {"length": 64, "vocabulary": 17_254, "lengths": (22, 9)}  # words of a fold of MR
_TINY = {"batch": 4, "length": 8, "vocabulary": 23, "lengths": (5, 2), "count": 8, "dropout": 0.1}
_SMALL_BERT = {"layers": 1, "width": 8, "heads": 2, "hidden": 12, "positions": 8}
_SMALL_COPY = {"width": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
TASKS = {
    # The presets mr-bag, mr-cnn and mr-lstm.
    "bag": Task("bag", 256, 856, 333_964, (377, 170), 0.0),
    "cnn": Task("cnn", 50, dropout=0.5, **_MR),
    "lstm": Task("lstm", 50, dropout=0.5, **_MR),
    # The default of --model transformer, and the preset mr-minilm.
    "transformer": Task("transformer", 64, dropout=0.1, **_MR),
    "minilm": Task(
        "bert",
        32,
        64,
        30_522,
        (27, 11),
        0.1,
        {"variant": "minilm", "pool": "mean", "attention_dropout": False},
    ),
    # The preset scitldr-copy, on the commonest shape of a batch.
    "copy": Task("copy", 32, 160, 5_633, (130, 25), 0.3, {"width": 192}, (28, 21, 5)),
    # For trials of the benchmark.
    "tiny-bag": Task("bag", **_TINY),
    "tiny-cnn": Task("cnn", options={"width": 6, "windows": (2, 3), "maps": 4}, **_TINY),
    "tiny-lstm": Task("lstm", options={"width": 6, "hidden": 4}, **_TINY),
    "tiny-transformer": Task("transformer", options=_SMALL_BERT, **_TINY),
    "tiny-copy": Task("copy", options=_SMALL_COPY, summary=(6, 4, 1), **_TINY),
}


def options_of(task: Task) -> Any:
    """Returns the options of a task's model, which the networks of both sides have."""
    from jaxmodels.models.options import chosen_options, with_options
    from jaxmodels.models.summarizers import Summarizers
    from jaxmodels.models.text_models import TextModels

    models = (Summarizers if task.summary else TextModels)(model=task.model)
    return chosen_options(with_options(models, **task.options))


def our_objective(task: Task) -> Any:
    """Makes our objective of a task."""
    from experiments.sentiment import prepare
    from jaxmodels.models.pointer_generator import pointer_generator
    from jaxmodels.objectives.classifier import Classifier
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.objectives.pointer_summarizer import PointerSummarizer
    from jaxmodels.objectives.preprocessing import with_preprocessing
    from jaxmodels.objectives.summaries import SummarySearch
    from jaxmodels.protocol import Objective

    options = options_of(task)
    common: dict[str, Any] = {
        "optimizer": OptimizerConfig(
            optimizer="adamw", learning_rate=RATE, schedule="constant", weight_decay=DECAY
        ),
        "steps": 1,
        "dropout": task.dropout,
    }
    if task.summary:
        model = pointer_generator(options, task.vocabulary, (task.length, task.summary[0]))
        search = SummarySearch(most=task.summary[0], end=_END)
        return Objective.of(PointerSummarizer(model=model, search=search, **common))
    model = options.create(CLASSES, task.vocabulary)
    return with_preprocessing(Classifier(model, CLASSES, input_name="text", **common), prepare)


def ours(name: str) -> Block:
    """Runs our engine on one device."""
    from experiments.benchmarks.engine_block import EngineStep
    from jaxmodels.data.resident import Resident

    task = TASKS[name]
    source: Any = Resident(task.columns())
    step = EngineStep(our_objective(task), source, task.batch)
    program = step.program()
    FACTS.update(step.sizes(program))
    return step.block(program)


def torch_eager(name: str) -> Block:
    """Runs PyTorch eager, on batches cut from tensors in memory."""
    return _torch_block(TASKS[name])


def torch_cut(name: str) -> Block:
    """Runs torch_eager on batches that are cut to the longest row, of which each has another."""
    return _torch_block(TASKS[name], cut=True)


def torch_compiled(name: str) -> Block:
    """Runs torch_eager with torch.compile over the model and its loss."""
    return _torch_block(TASKS[name], compiled=True)


def cut_to_longest(task: Task, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts a batch of tensors to its longest row, documents and summaries each."""
    sides = [("source", "copied"), ("target",)] if task.summary else [("tokens", "segments")]
    empty, changed = _NO_WORD if task.summary else PADDING, dict(batch)
    for names in sides:
        longest = int((batch[names[0]] != empty).sum(1).max())
        changed |= {name: batch[name][:, :longest] for name in names}
    return changed


def _torch_block(task: Task, cut: bool = False, compiled: bool = False) -> Block:
    import torch

    from experiments.benchmarks.torch_detectors import count_parameters
    from experiments.benchmarks.torch_sentences import torch_loss

    torch.manual_seed(0)
    model = torch_loss(task, options_of(task)).train()
    FACTS["parameters"] = count_parameters(model)
    columns = {name: torch.tensor(column).long() for name, column in task.columns().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    loss_of: Any = torch.compile(model) if compiled else model

    def block(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(task.count, (task.batch,))
            batch = {name: column[rows] for name, column in columns.items()}
            loss = loss_of(**(cut_to_longest(task, batch) if cut else batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        loss.item()

    return block
