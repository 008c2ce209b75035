"""A network from an input to numbers, as classification and regression initialise and pass it."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError
from jaxmodels.protocol import PyTree


def init_network(
    model: nn.Module,
    key: Key[Array, ""],
    column: PyTree,
    outputs: int | tuple[int, ...],
    dropout: float,
) -> dict[str, PyTree]:
    """Draws the "params" of a network and makes its "batch_stats", which may be empty.

    column: the shape and type of a batch of inputs, or a tree of them (a text's tokens and
      segments).
    outputs: how many numbers the network must give for an example, or their shape, whose last axis
      is that of the head.
    dropout: the rate that it will be trained with.

    Raises:
      InputError: another number of outputs, or dropout with a model that has none.
    """
    _require_dropout(model, dropout)
    example = jax.tree.map(lambda each: jnp.zeros((1, *each.shape[1:]), each.dtype), column)
    given, variables = model.init_with_output(key, example, train=False)
    expected = (1, *outputs) if isinstance(outputs, tuple) else (1, outputs)
    if given.shape != expected:
        raise InputError(
            f"model {type(model).__name__} maps one example to {given.shape}; expected"
            f" {expected}: a head of {expected[-1]} numbers"
        )
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def _require_dropout(model: nn.Module, dropout: float) -> None:
    arguments = inspect.signature(type(model).__call__).parameters
    takes = "dropout_rate" in arguments or any(
        argument.kind is argument.VAR_KEYWORD for argument in arguments.values()
    )
    if dropout and not takes:
        raise InputError(
            f"dropout = {dropout}; model {type(model).__name__} has none; expected an"
            " argument dropout_rate of its __call__: give it one, or dropout 0"
        )


def pass_in_training(
    model: nn.Module,
    params: PyTree,
    batch_stats: PyTree,
    inputs: PyTree,
    key: Key[Array, ""],
    dropout_rate: Float[Array, ""] | None,
) -> tuple[Float[Array, "batch ..."], PyTree]:
    """Computes the outputs of a training batch and the batch statistics after it.

    dropout_rate: None: the model drops nothing, and may know no dropout.
    """
    arguments: dict[str, Any] = {} if dropout_rate is None else {"dropout_rate": dropout_rate}
    outputs, changed = model.apply(
        {"params": params, "batch_stats": batch_stats},
        inputs,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
        **arguments,
    )
    return outputs, changed.get("batch_stats", {})
