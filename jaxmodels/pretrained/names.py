"""Tables of names: where each published array lies in our trees, and how its axes differ.

A table is data that works both ways: `load` follows it inward, `save` outward. It is made by the
Config of a model for its own sizes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

BATCH_COUNT = "num_batches_tracked"  # an array of torch's BatchNorm, which nothing reads


@dataclass(frozen=True)
class Layout:
    """How a published array differs from ours. Both functions only move axes, split and join, so
    that a mapped file is read no further than what is used of it.

    inward: a published array -> ours, several where they are fused.
    outward: ours -> the published array.

    Both raise ValueError or IndexError for an array whose axes or sizes do not fit.
    """

    inward: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    outward: Callable[..., np.ndarray]


@dataclass(frozen=True)
class Entry:
    """A published array and the places of ours that it fills.

    name: the published name without its prefix: "h.0.attn.c_attn.weight".
    paths: ours, as `flax.traverse_util.flatten_dict(sep="/")` names them, with the collection:
      "params/block_0/query/kernel", "batch_stats/stem/norm/mean".
    outside: the name has no prefix, as the heads that transformers puts beside a model.
    """

    name: str
    paths: tuple[str, ...]
    layout: Layout = field(default_factory=lambda: PLAIN)
    outside: bool = False


@dataclass(frozen=True)
class Published:
    """How the weights of one model are published.

    tied: name -> the name of the entry that it repeats. It may be absent; where it is there, it
      must be equal. It is looked for with and without the prefix.
    ignored: regular expressions, searched in names that have no counterpart: masks, step counts.
    prefixes: what publishers put before the names; the first is what we write.
    constants: published arrays that are no parameters of ours, by their names without the prefix.
      They are written; where they are read, they must be equal unless their names are ignored.
    """

    entries: tuple[Entry, ...]
    tied: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)


def name_of(entry: Entry, prefix: str) -> str:
    """Gives the whole name of an entry in files with this prefix."""
    return entry.name if entry.outside else prefix + entry.name


def permuted(*axes: int) -> Layout:
    """Makes the layout of an array whose axes stand in another order.

    axes: as of np.transpose, from the published array to ours.
    """
    back = tuple(int(axis) for axis in np.argsort(axes))
    return Layout(lambda array: (array.transpose(axes),), lambda array: array.transpose(back))


PLAIN = Layout(lambda array: (array,), lambda array: array)
# Kernels of torch's linear layers are [outputs, inputs].
TRANSPOSED = permuted(1, 0)
# Kernels of torch's convolutions are [outputs, inputs, height, width], ours end in [inputs,
# outputs]; depthwise ones have one input in both.
CONVOLUTION = permuted(2, 3, 1, 0)
# [outputs, inputs, width], of sequences.
CONVOLUTION_1D = permuted(2, 1, 0)
# Published with a leading axis of length 1, as positions [1, length, width].
LEADING_ONE = Layout(lambda array: (_without(array, 1),), lambda array: array[None])
# Published with two leading axes of length 1, as class tokens [1, 1, width].
LEADING_ONES = Layout(lambda array: (_without(array, 2),), lambda array: array[None, None])


def fused(parts: int, axis: int = 0, *, transposed: bool = False) -> Layout:
    """Makes the layout of an array that holds several of ours of equal sizes side by side.

    axis: of the published array, along which the parts lie.
    transposed: each part is a linear kernel [outputs, inputs].
    """

    def inward(array: np.ndarray) -> tuple[np.ndarray, ...]:
        arrays = np.split(array, parts, axis)
        return tuple(part.transpose() if transposed else part for part in arrays)

    def outward(*arrays: np.ndarray) -> np.ndarray:
        return np.concatenate([part.transpose() if transposed else part for part in arrays], axis)

    return Layout(inward, outward)


def rotary_pairs(heads: int, *, transposed: bool = True) -> Layout:
    """Makes the layout of GGUF's query and key of Llama, whose rotary pairs (i, i + half) are
    stored side by side.

    heads: how many heads the array holds.
    transposed: the array is a linear kernel [outputs, inputs]; otherwise its bias.
    """

    def inward(array: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        return (rows.transpose() if transposed else rows,)

    def outward(array: np.ndarray) -> np.ndarray:
        rows = array.transpose() if transposed else array
        return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)

    return Layout(inward, outward)


def flattened_convolution(patch: int) -> Layout:
    """Makes the layout of a convolution [outputs, channels, patch, patch] that is a linear kernel
    of ours [patch * patch * channels, outputs]."""

    def inward(array: np.ndarray) -> tuple[np.ndarray, ...]:
        if array.shape[2:] != (patch, patch):
            raise ValueError("another patch")
        return (array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0]),)

    def outward(array: np.ndarray) -> np.ndarray:
        return array.reshape(patch, patch, -1, array.shape[1]).transpose(3, 2, 0, 1)

    return Layout(inward, outward)


def linear(name: str, path: str, *, bias: bool = True, outside: bool = False) -> tuple[Entry, ...]:
    """Makes the entries of a linear layer of torch: `name`.weight and `name`.bias.

    path: ours, from the parameters on: "block_0/out".
    """
    return _layer(name, path, "kernel", TRANSPOSED, bias, outside)


def plain_linear(name: str, path: str, *, bias: bool = True) -> tuple[Entry, ...]:
    """Makes the entries of a linear layer whose kernel is [inputs, outputs], as GPT-2's and Keras's
    are; see `linear`."""
    return _layer(name, path, "kernel", PLAIN, bias, False)


def convolution(name: str, path: str, *, bias: bool = True) -> tuple[Entry, ...]:
    """Makes the entries of a convolution of torch over height and width; see `linear`."""
    return _layer(name, path, "kernel", CONVOLUTION, bias, False)


def norm(name: str, path: str, *, bias: bool = True, outside: bool = False) -> tuple[Entry, ...]:
    """Makes the entries of a layer norm or, without a bias, of an RMSNorm; see `linear`."""
    return _layer(name, path, "scale", PLAIN, bias, outside)


def batch_norm(name: str, path: str) -> tuple[Entry, ...]:
    """Makes the entries of a BatchNorm with its statistics; see `linear`."""
    return (
        *norm(name, path),
        Entry(f"{name}.running_mean", (f"batch_stats/{path}/mean",)),
        Entry(f"{name}.running_var", (f"batch_stats/{path}/var",)),
    )


def _layer(
    name: str, path: str, weight: str, layout: Layout, bias: bool, outside: bool
) -> tuple[Entry, ...]:
    make = partial(Entry, outside=outside)
    entries = (make(f"{name}.weight", (f"params/{path}/{weight}",), layout),)
    return entries + (make(f"{name}.bias", (f"params/{path}/bias",)),) * bias


def _without(array: np.ndarray, axes: int) -> np.ndarray:
    if array.shape[:axes] != (1,) * axes:
        raise ValueError("another shape")
    return array.reshape(array.shape[axes:])
