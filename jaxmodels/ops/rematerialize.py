"""What a gradient computes again in place of keeping it, by `--remat`, in what is traced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax

from jaxmodels.errors import require_known
from jaxmodels.ops.convolution import OPERANDS

REMATS = ("none", "block", "full")
_CONVOLUTIONS = ("conv_general_dilated", *OPERANDS)


@dataclass
class _InUse:
    remat: str
    has_blocks: bool = False  # whether a block was met


_in_use: ContextVar[_InUse | None] = ContextVar("remat", default=None)


@contextmanager
def use_remat(remat: str) -> Iterator[None]:
    """Makes `rematerialized` and `rematerialized_whole` heed `--remat` in what is traced inside.

    remat: none keeps all that the gradient reads; block keeps a block's input and what its products
      with kernels and its convolutions give, and computes the rest again; full keeps nothing but
      the input.

    Raises:
      InputError: another word.
    """
    require_known("remat", remat, REMATS)
    with _using(None if remat == "none" else _InUse(remat)):
        yield


@contextmanager
def _using(in_use: _InUse | None) -> Iterator[None]:
    token = _in_use.set(in_use)
    try:
        yield
    finally:
        _in_use.reset(token)


def rematerialized(block: Callable, lift: Callable = jax.checkpoint) -> Callable:
    """Makes the pass of a block of a network, of which the gradient computes parts again.

    lift: `jax.checkpoint` of a function of arrays, `nn.remat` of one that calls a module.
    """
    in_use = _in_use.get()
    if in_use is None:
        return block
    in_use.has_blocks = True
    return lift(block, policy=_is_product if in_use.remat == "block" else None)


def rematerialized_whole(function: Callable) -> Callable:
    """Makes a loss, or the pass of a whole network, of which the gradient computes parts again: as
    if it were one block, where there is none in it.

    function: of trees of arrays; what it closes over may be traced as well.
    """
    in_use = _in_use.get()
    if in_use is None:
        return function
    remat = in_use.remat

    def call(*arguments: Any) -> Any:
        met = _InUse(remat)
        with _using(met):
            jax.eval_shape(lambda *given: function(*given), *arguments)
        if met.has_blocks:
            return function(*arguments)

        # A function of its own, so that no trace of another mesh is found.
        def run(*given: Any) -> Any:
            with _using(None):
                return function(*given)

        return rematerialized(run)(*arguments)

    return call


def _is_product(primitive: Any, *operands: Any, **parameters: Any) -> bool:
    """Whether a block keeps what an operation gives: products of activations, as in attention, are
    computed again, because they grow with the square of the length."""
    of_kernel = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return primitive.name in _CONVOLUTIONS or of_kernel(primitive, *operands, **parameters)
