"""The pass of a block that is a module within another."""

from typing import Any

from flax import linen as nn

from jaxmodels.ops.rematerialize import rematerialized
from jaxmodels.protocol import PyTree


def again(block: nn.Module, *inputs: PyTree, **named: Any) -> Any:
    """Calls block(*inputs, **named); its gradient computes parts of it again, by `--remat`.

    inputs: trees of arrays. named: what is no array, as `train`, or is kept, as a rate of dropout.
    """

    def run(block: nn.Module, *inputs: PyTree) -> Any:
        return block(*inputs, **named)

    return rematerialized(run, nn.remat)(block, *inputs)
