"""Which tokens make an example: windows of a column, in training and in evaluation.

A window begins at its `start` and has `context` + 1 tokens: `context` inputs, and as many targets
that are the inputs moved by one.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int

from jaxmodels.errors import InputError
from jaxmodels.order import Order

Places = dict[str, Int[np.ndarray, "*steps part"]]


@dataclass(frozen=True)
class RandomWindows:
    """Windows that divide the column, in a new order in each epoch and from a new offset. So every
    token is a target once an epoch, but for fewer than two contexts at the ends, and a window
    hardly ever begins where one has begun before.

    (nanoGPT draws starts uniformly and independently. Of as many windows as an epoch has, 37% of
    the tokens are then in none, and others in several.)

    Raises:
      InputError: a column shorter than a window.
    """

    length: int  # of the column
    context: int

    def __post_init__(self):
        _require_window(self.length, self.context)

    @property
    def size(self) -> int:
        """The number of windows of an epoch."""
        return max(1, self.length // self.context - 1)

    def places(self, order: Order, start: int, stop: int) -> Places:
        """Returns the "start" of each window of steps start..stop-1."""
        rows = order.rows(start, stop).astype(np.int64)
        if order.seed is None:
            return self.of(rows)
        epochs = order.positions(start, stop) // order.size
        unique, inverse = np.unique(epochs, return_inverse=True)
        offsets = np.array([self.offset(order.seed, epoch) for epoch in unique.tolist()], np.int64)
        return {"start": rows * self.context + offsets[inverse].reshape(rows.shape)}

    def offset(self, seed: int, epoch: int) -> int:
        """Returns where the first window of an epoch begins."""
        spare = self.length - self.size * self.context
        return _random_bits(seed, epoch) % min(self.context, spare)

    def of(self, rows: Int[np.ndarray, "*count"]) -> Places:
        """Returns the "start" of windows without an offset."""
        return {"start": rows.astype(np.int64) * self.context}


@lru_cache(maxsize=16)
def _random_bits(seed: int, epoch: int) -> int:
    # The counter begins where the bits of the order of this epoch never come to.
    return int(np.random.Philox(key=(seed, epoch), counter=(0, 0, 0, 1)).random_raw())


@dataclass(frozen=True)
class ContiguousWindows:
    """Windows for a model that carries its state: the column is cut into as many strips as a batch
    has rows, and row b of each batch goes on in strip b where it stopped. At their ends all begin
    again (Zaremba et al. 2014, section 4).

    Raises:
      InputError: a column shorter than a window.
    """

    length: int  # of the column
    context: int

    def __post_init__(self):
        _require_window(self.length, self.context)

    @property
    def size(self) -> int:
        """The number of windows of an epoch, or some more."""
        return (self.length - 1) // self.context

    def places(self, order: Order, start: int, stop: int) -> Places:
        """Returns the "start" of each window of steps start..stop-1."""
        step, row = np.divmod(order.positions(start, stop), order.batch_size)
        strip = (self.length - 1) // order.batch_size
        return {"start": row * strip + step % (strip // self.context) * self.context}

    def of(self, rows: Int[np.ndarray, "*count"]) -> Places:
        """Returns the "start" of windows of one strip that is the whole column."""
        return {"start": rows.astype(np.int64) * self.context}


@dataclass(frozen=True)
class SlidingWindows:
    """Windows that score every token of a split once: all but the first token, which nothing comes
    before. The first window scores all of its targets, each other one its last `stride`, so that
    a target has at least `context` - `stride` + 1 inputs before it. The last window ends with the
    column; it scores what is left. A column shorter than a window makes one that is filled up with
    token 0.

    Raises:
      InputError: a stride out of 1..context, or a column of fewer than two tokens.
    """

    length: int  # of the column
    context: int
    stride: int

    def __post_init__(self):
        if not 1 <= self.stride <= self.context:
            raise InputError(f"stride = {self.stride}; expected 1 to context = {self.context}")
        if self.length < 2:
            raise InputError(f"a split has {self.length} tokens; expected two or more to score one")

    @property
    def size(self) -> int:
        """The number of windows."""
        return 1 + -(-max(0, self.length - 1 - self.context) // self.stride)

    def places(self, order: Order, start: int, stop: int) -> Places:
        """Returns the "start" of each window of steps start..stop-1, and how many of its targets
        another has scored ("skip")."""
        return self.of(order.rows(start, stop))

    def of(self, rows: Int[np.ndarray, "*count"]) -> Places:
        """Returns "start" and "skip" of windows."""
        wanted = rows.astype(np.int64) * self.stride
        start = np.minimum(wanted, max(0, self.length - 1 - self.context))
        # The window before ends with the target wanted - stride + context.
        skip = np.where(rows > 0, wanted - self.stride + self.context - start, 0)
        return {"start": start, "skip": skip}


Windows = RandomWindows | ContiguousWindows | SlidingWindows


def training_windows(
    kind: Literal["random", "contiguous"], length: int, context: int
) -> RandomWindows | ContiguousWindows:
    """Makes the windows of a training split.

    Raises:
      InputError: a column shorter than a window.
    """
    return (RandomWindows if kind == "random" else ContiguousWindows)(length, context)


def _require_window(length: int, context: int) -> None:
    if length <= context:
        raise InputError(
            f"context = {context}; the training split has {length:,} tokens: expected a context of"
            f" at most {max(length - 1, 1):,}, or more text"
        )
