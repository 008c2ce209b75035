"""Writing one text token by token with a cache, as a block of texts, for `alternate`.

All peers have the same weights, drawn once with a fixed seed (the speed does not depend on their
values), start from the same prompt and choose the likeliest token. What they wrote first is in
FACTS, so that it can be seen to be the same text.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Block = Callable[[int], None]
PROMPT = 16  # tokens
FACTS: dict[str, Any] = {}


class Task(NamedTuple):
    """A model, and how many tokens each text gets."""

    model: str
    sizes: dict[str, Any]
    vocabulary: int
    count: int
    context: int = 1024

    def prompt(self) -> np.ndarray:
        """Draws the tokens that the text begins with."""
        return np.random.default_rng(1).integers(0, self.vocabulary, PROMPT, dtype=np.int32)


_GPT2 = {"bias": False}
TASKS = {
    "4x128": Task("gpt2", {"variant": "tiny", **_GPT2}, 65, 128),
    "gpt2-small": Task("gpt2", {"variant": "small", **_GPT2}, 50_257, 32),
    "smollm2-135m": Task("llama", {"variant": "smollm2-135m"}, 49_152, 32, 8192),
    # For trials of the benchmarks.
    "tiny-gpt2": Task("gpt2", {"layers": 2, "width": 16, "heads": 2, **_GPT2}, 17, 6),
    "tiny-llama": Task("llama", {"layers": 2, "width": 16, "heads": 2, "hidden": 24}, 17, 6),
}


def our_model(task: Task) -> Any:
    """Makes our model of a task."""
    from jaxmodels.models.language_models import create_language_model

    return create_language_model(task.model, task.vocabulary, task.context, **task.sizes)


def weights_of(model: Any) -> Any:
    """Draws the weights, as arrays of numpy in our tree."""
    import jax

    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    generator = np.random.default_rng(0)

    def draw(leaf):
        if leaf.ndim < 2:
            return np.ones(leaf.shape, np.float32)
        values = generator.standard_normal(leaf.shape, dtype=np.float32)
        return values * np.float32(leaf.shape[-1] ** -0.5)

    return jax.tree.map(draw, shapes)


def weight_bytes(task: Task) -> int:
    """Counts the bytes of weights that a token needs: all but those of tables of which it reads a
    row."""
    import jax

    model = our_model(task)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    rows = 0 if model.tied else shapes["token_embedding"]["embedding"].size
    rows += shapes["position_embedding"]["embedding"].size if task.model == "gpt2" else 0
    return 4 * (sum(leaf.size for leaf in jax.tree.leaves(shapes)) - rows)


def ours(name: str) -> Block:
    """Writes by `jaxmodels.decoding`, as --mode sample does."""
    import jax
    import jax.numpy as jnp

    from jaxmodels import decoding

    task = TASKS[name]
    model = our_model(task)
    params = jax.tree.map(jnp.asarray, weights_of(model))
    room = PROMPT + task.count
    tokens = jnp.zeros((1, room), jnp.int32).at[0, :PROMPT].set(task.prompt())
    keys = jax.random.split(jax.random.key(0), 1)

    @jax.jit
    def write(params, tokens, length, choice):
        apply = partial(model.apply, {"params": params})
        step = decoding.Step(partial(apply, method="decode"), partial(apply, method="empty_cache"))
        writing = decoding.begin(step, tokens, length, task.context)
        return decoding.extend(step, writing, room, keys, choice, -1, task.context).tokens

    choice = decoding.Choice(jnp.float32(0.0))

    def text() -> np.ndarray:
        return np.asarray(write(params, tokens, jnp.int32([PROMPT]), choice))[0, PROMPT:]

    return _block(text)


def torch_eager(name: str) -> Block:
    """Writes by a loop in PyTorch with a cache made beforehand, as one writes it by hand."""
    import torch

    from experiments.benchmarks.decoding_torch import Decoder

    task = TASKS[name]
    torch.set_num_threads(torch.get_num_threads())
    model = our_model(task)
    decoder = Decoder(task, model, weights_of(model))
    return _block(lambda: decoder.text(task.prompt(), task.count))


def transformers_generate(name: str) -> Block:
    """Writes by `generate` of transformers, with its cache."""
    import torch

    from experiments.benchmarks.decoding_torch import transformers_model

    task = TASKS[name]
    torch.set_num_threads(torch.get_num_threads())
    model = our_model(task)
    network = transformers_model(task, model, weights_of(model))
    prompt = torch.tensor(task.prompt()[None]).long()
    options = {"min_new_tokens": task.count, "max_new_tokens": task.count, "do_sample": False}

    def text() -> np.ndarray:
        with torch.inference_mode():
            mask = torch.ones_like(prompt)
            written = network.generate(prompt, attention_mask=mask, **options)
        return written[0, PROMPT:].numpy()

    return _block(text)


def _block(text: Callable[[], np.ndarray]) -> Block:
    def block(count: int) -> None:
        for _ in range(count):
            FACTS["text"] = text()[:8].tolist()

    return block
