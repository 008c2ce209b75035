"""Fills the tree of a model from published weights, strictly."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmodels.errors import InputError
from jaxmodels.pretrained.names import Entry, Published, name_of
from jaxmodels.pretrained.weights import Stored, Weights
from jaxmodels.protocol import PyTree

_SHOWN = 5  # names of one kind in a message


@dataclass(frozen=True)
class Match:
    """A file's arrays beside those of a model, before any is read.

    prefix: that of the names in the file.
    found: the name in the file -> its entry, for all whose shapes and types fit.
    missing: published names that the file lacks.
    unfilled: paths of the model that no entry fills.
    unexpected: names of the file that are no entry's.
    misshapen: the name in the file -> what is wrong with its shape or type.
    tied: the name in the file -> the name that it must equal.
    constants: the name in the file -> what it must equal.
    """

    prefix: str
    found: Mapping[str, Entry]
    missing: tuple[str, ...]
    unfilled: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: Mapping[str, str]
    tied: Mapping[str, str]
    constants: Mapping[str, np.ndarray]

    def problems(self) -> list[str]:
        """Says what does not fit, a kind per line; empty if all does."""
        lines = [
            _listed("it lacks", self.missing),
            _listed("it has unknown", self.unexpected),
            _listed("the model has, and no published name fills,", self.unfilled),
            _listed("", [f"{name} {told}" for name, told in self.misshapen.items()], "; "),
        ]
        return [line for line in lines if line]


def load(
    weights: Weights, published: Published, shapes: PyTree, shardings: PyTree | None = None
) -> dict[str, Any]:
    """Reads all arrays of a model.

    shapes: the model's variables, {"params": ..., "batch_stats": ...}, as anything with shape and
      dtype: what `jax.eval_shape` gives. Arrays get its types.
    shardings: the same tree of shardings; then a process reads only what its devices hold, as far
      as the file's format allows that. None: arrays of the default device.

    Raises:
      InputError: names are missing or unexpected, shapes or types are others, or numbers are not
        finite: one report of all.
    """
    match = compare(weights, published, shapes)
    problems = match.problems()
    if problems:
        raise InputError(f"{weights.path} holds other weights: {'; '.join(problems)}")
    return unflatten_dict(read_arrays(weights, match, shapes, shardings), sep="/")


def compare(weights: Weights, published: Published, shapes: PyTree) -> Match:
    """Compares names, shapes and types of a file with those of a model. It reads no array."""
    expected = flatten_dict(shapes, sep="/")
    prefix = _prefix(weights, published)
    names = {name_of(entry, prefix): entry for entry in published.entries}
    known = {name: entry for name, entry in names.items() if set(entry.paths) <= expected.keys()}
    tied = {
        full: names_of[other]
        for names_of in [{entry.name: name_of(entry, prefix) for entry in published.entries}]
        for name, other in published.tied.items()
        for full in {name, prefix + name}
        if full in weights and full not in names
    }
    ignored = re.compile("|".join(published.ignored) or r"(?!)")
    constants = {
        prefix + name: array
        for name, array in published.constants.items()
        if prefix + name in weights and not ignored.search(prefix + name)
    }
    misshapen = {}
    for name, entry in known.items():
        if name in weights and (told := _difference(weights[name], entry, expected)):
            misshapen[name] = told
    filled = {path for entry in known.values() for path in entry.paths}
    expected_names = {*known, *tied, *constants}
    return Match(
        prefix=prefix,
        found={n: e for n, e in known.items() if n in weights and n not in misshapen},
        missing=tuple(name for name in known if name not in weights),
        unfilled=tuple(path for path in expected if path not in filled),
        unexpected=tuple(
            name for name in weights if name not in expected_names and not ignored.search(name)
        ),
        misshapen=misshapen,
        tied=tied,
        constants=constants,
    )


def read_arrays(
    weights: Weights, match: Match, shapes: PyTree, shardings: PyTree | None = None
) -> dict[str, jax.Array]:
    """Reads what a match has found, by our paths; see `load`.

    Raises:
      InputError: numbers are not finite, or an array differs from the one that it is tied to.
    """
    expected = flatten_dict(shapes, sep="/")
    places = {} if shardings is None else flatten_dict(shardings, sep="/")
    arrays, infinite = {}, []
    for name, entry in match.found.items():
        ours = entry.layout.inward(weights[name].read())
        finite = True
        for path, array in zip(entry.paths, ours, strict=True):
            arrays[path], is_finite = _placed(array, expected[path].dtype, places.get(path))
            finite &= is_finite
        if not finite:
            infinite.append(name)
    if infinite:
        raise InputError(
            f"{weights.path}: {_listed('', infinite)} has numbers that are not finite; expected"
            " weights"
        )
    for name, other in match.tied.items():
        if other in match.found and not _equal(weights[name], weights[other]):
            raise InputError(f"{weights.path}: {name} differs from {other}; expected tied weights")
    for name, constant in match.constants.items():
        stored = weights[name]
        if stored.shape != constant.shape or not np.allclose(stored.read(), constant, atol=1e-5):
            raise InputError(
                f"{weights.path}: {name} differs from what the model computes in its place"
            )
    return arrays


def _prefix(weights: Weights, published: Published) -> str:
    """Chooses the prefix under which most names are found."""

    def count(prefix: str) -> int:
        return sum(name_of(entry, prefix) in weights for entry in published.entries)

    return max(published.prefixes, key=count)


def _difference(stored: Stored, entry: Entry, expected: Mapping[str, Any]) -> str:
    """Says how the shape or the type of an array differs; empty if it does not."""
    shapes = [tuple(expected[path].shape) for path in entry.paths]
    try:
        ours = entry.layout.inward(_hollow(stored.shape))
        fits = [array.shape for array in ours] == shapes
    except (ValueError, IndexError):
        fits = False
    if not fits:
        wanted = entry.layout.outward(*(_hollow(shape) for shape in shapes)).shape
        told = f"has shape {stored.shape}; expected {wanted}"
        is_transposed = len(wanted) > 1 and stored.shape == wanted[::-1]
        return f"{told}, it is transposed" if is_transposed else told
    wants_floats = jnp.issubdtype(expected[entry.paths[0]].dtype, jnp.floating)
    if jnp.issubdtype(stored.dtype, jnp.floating) != wants_floats:
        return f"has type {stored.dtype}; expected {'floats' if wants_floats else 'whole numbers'}"
    return ""


def _hollow(shape: Iterable[int]) -> np.ndarray:
    """Makes an array of this shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.int8), tuple(shape))


def _placed(
    array: np.ndarray, dtype: Any, sharding: jax.sharding.Sharding | None
) -> tuple[jax.Array, bool]:
    """Puts an array on its devices, shard by shard, and says whether what was read is finite."""
    if sharding is None:
        values = np.asarray(array, dtype)
        return jnp.asarray(values), _is_finite(values)
    read: dict[tuple, np.ndarray] = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
        # Devices that hold the same part share it.
        key = tuple((at.start, at.stop) for at in index)
        if key not in read:
            read[key] = np.ascontiguousarray(array[index], dtype).reshape(array[index].shape)
        return read[key]

    placed = jax.make_array_from_callback(array.shape, sharding, part)
    return placed, all(_is_finite(values) for values in read.values())


def _is_finite(values: np.ndarray) -> bool:
    return not jnp.issubdtype(values.dtype, jnp.floating) or bool(np.isfinite(values).all())


def _equal(a: Stored, b: Stored) -> bool:
    return a.shape == b.shape and np.array_equal(a.read(), b.read())


def _listed(told: str, names: Iterable[str], between: str = ", ") -> str:
    names = list(names)
    more = len(names) - _SHOWN
    shown = between.join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"{told} {shown}".strip() if names else ""
