"""Kinds of parameters, which optimizers treat differently. The rule is stated here, once."""

from typing import Any, Literal

import jax

from jaxmodels.protocol import PyTree

Kind = Literal["vector", "fixed", "embedding", "head", "kernel"]
HEADS = ("head", "lm_head")
FIXED = ("sound_positions",)  # tables that models are published with and never learn


def kind_of(path: tuple[Any, ...], parameter: Any) -> Kind:
    """Tells the kind of a parameter from its path and its number of axes.

    - vector: fewer than two axes (biases, gains, scalars), or named `scale` or `bias`. The scales
      and biases of a conditional BatchNorm are tables, so names tell them from kernels.
    - fixed: a table in a module of `FIXED`, which neither learns nor decays.
    - embedding: a table named `embedding`, as of `nn.Embed`.
    - head: anything else in a module named `head` or `lm_head`.
    - kernel: the rest.
    """
    names = [str(getattr(part, "key", getattr(part, "name", ""))) for part in path]
    name = names[-1] if names else ""
    if parameter.ndim < 2 or name in ("scale", "bias"):
        return "vector"
    if name == "embedding":
        return "fixed" if any(module in FIXED for module in names[:-1]) else "embedding"
    return "head" if any(module in HEADS for module in names[:-1]) else "kernel"


def kinds_of(params: PyTree) -> PyTree:
    """Returns the kind of each parameter."""
    return jax.tree_util.tree_map_with_path(kind_of, params)


def decayed(params: PyTree) -> PyTree:
    """Marks the parameters that weight decay acts on: all but vectors and fixed tables."""
    return jax.tree.map(lambda kind: kind not in ("vector", "fixed"), kinds_of(params))
