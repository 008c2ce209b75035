"""Beam search of an encoder-decoder, as a block of batches of sentences, for `alternate`.

All peers have the same weights, drawn once with a fixed seed (the speed does not depend on their
values), read the same sources, and write texts of the same length, so that all do the same work.
What they wrote first is in FACTS, so that it can be seen to be the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Block = Callable[[int], None]
END = 0
FACTS: dict[str, Any] = {}


class Task(NamedTuple):
    """A Marian and its work.

    sentences: of a batch. source, written: tokens of each sentence.
    """

    sizes: dict[str, Any]
    vocabulary: int
    sentences: int
    source: int
    written: int
    beams: int = 4

    @property
    def padding(self) -> int:
        """The token behind sources and before what is written."""
        return self.vocabulary - 1

    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws sources of a half to all of the length, and which of their tokens are there."""
        generator = np.random.default_rng(1)
        shape = self.sentences, self.source
        tokens = generator.integers(1, self.vocabulary - 1, shape, dtype=np.int32)
        lengths = generator.integers(self.source // 2, self.source + 1, self.sentences)
        valid = np.arange(self.source) < lengths[:, None]
        return np.where(valid, tokens, self.padding).astype(np.int32), valid


TASKS = {
    "tiny": Task({"variant": "tiny"}, 8_000, 32, 16, 24),
    "small": Task(
        {"variant": "tiny", "layers": 3, "decoder_layers": 3, "width": 256}, 8_000, 32, 16, 24
    ),
    "base": Task({"variant": "base"}, 32_000, 16, 24, 24),
    # For trials of the benchmark.
    "trial": Task(
        {"layers": 1, "decoder_layers": 1, "width": 16, "heads": 2, "hidden": 24}, 19, 3, 5, 6
    ),
}


def our_model(task: Task) -> Any:
    """Makes our model of a task."""
    from jaxmodels.models.marian import MarianConfig

    return MarianConfig(**task.sizes).create(task.vocabulary)


def weights_of(model: Any) -> Any:
    """Draws the weights, as arrays of numpy in our tree."""
    import jax

    like = np.zeros((1, 2), np.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), like, like)["params"]
    generator = np.random.default_rng(0)

    def draw(leaf):
        if leaf.ndim < 2:
            return np.ones(leaf.shape, np.float32)
        values = generator.standard_normal(leaf.shape, dtype=np.float32)
        return values * np.float32(leaf.shape[-1] ** -0.5)

    return jax.tree.map(draw, shapes)


def ours(name: str) -> Block:
    """Searches by `jaxmodels.decoding`, as --mode predict does."""
    import jax
    import jax.numpy as jnp

    from jaxmodels.decoding import at_least, search, without

    task = TASKS[name]
    model = our_model(task)
    params = jax.tree.map(jnp.asarray, weights_of(model))
    source, valid = (jnp.asarray(array) for array in task.sources())
    rules = (at_least(task.written, END), without([task.padding]))

    @jax.jit
    def found(params, source, valid):
        memory = model.apply({"params": params}, source, valid, method="encode")
        begin = jnp.full((len(source), 1), task.padding, jnp.int32)
        step = model.step_of(params, memory)
        options: dict[str, Any] = {"beams": task.beams, "most": task.written, "end": END}
        return search(step, begin, rules=rules, **options)

    return _block(lambda: np.asarray(found(params, source, valid).tokens[:, 0]))


def transformers_generate(name: str) -> Block:
    """Searches by `generate` of transformers, with its cache."""
    import torch

    task = TASKS[name]
    torch.set_num_threads(torch.get_num_threads())
    network = _their_model(task)
    source, valid = (torch.tensor(array).long() for array in task.sources())
    options = {
        "num_beams": task.beams,
        "min_length": task.written,
        "max_length": task.written + 1,
        "suppress_tokens": [task.padding],
        "do_sample": False,
    }

    def texts() -> np.ndarray:
        with torch.inference_mode():
            return network.generate(source, attention_mask=valid, **options).numpy()

    return _block(texts)


def _their_model(task: Task) -> Any:
    """Makes transformers' model, from the file that ours is exported to."""
    import sys
    import tempfile
    from pathlib import Path

    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]  # one of another version
    import transformers

    from jaxmodels.models.marian import MarianConfig
    from jaxmodels.models.marian_names import published, published_config
    from jaxmodels.pretrained import save

    config = MarianConfig(**task.sizes)
    tokens = {"begin": task.padding, "end": END, "padding": task.padding}
    written = published_config(config, task.vocabulary, **tokens)
    tree = {"params": weights_of(our_model(task))}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", tree, published(config), written)
        network = transformers.MarianMTModel.from_pretrained(Path(folder) / "model").eval()
    network.generation_config.forced_eos_token_id = None
    return network


def _block(texts: Callable[[], np.ndarray]) -> Block:
    def block(count: int) -> None:
        for _ in range(count):
            FACTS["texts"] = texts()[:4].tolist()

    return block
