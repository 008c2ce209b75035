"""The pass of a block that is a module within another."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array

from jaxmodels.ops.rematerialize import rematerialized


def again(block: nn.Module, *inputs: Array, **named: Any) -> Any:
    """Calls block(*inputs, **named); its gradient computes parts of it again, by `--remat`.

    named: what is not differentiated, as `train` and a rate of dropout.
    """

    def run(block: nn.Module, *inputs: Array) -> Any:
        return block(*inputs, **named)

    return rematerialized(run, nn.remat)(block, *inputs)
