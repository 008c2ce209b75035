"""How the state of a run is divided over a mesh: by the rules of its model, then by size."""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.protocol import BY_SIZE, FSDP_AXIS, MODEL_AXIS, PyTree, Sharding, ShardingRule
from jaxmodels.train.layout import AXES, divides_state

# Arrays of fewer numbers are whole on every device: to gather them takes longer than it saves.
LEAST_DIVIDED = 1 << 14
# Parts of a state that a step only updates, number by number.
_ONLY_UPDATED = ("optimizer", "ema")
Axes = tuple[str | tuple[str, ...] | None, ...]


class StateLayout:
    """The places of the arrays of a state.

    An array has the axes of the first rule whose pattern is found in its path; then fsdp divides
    the largest other axis that it can, if the array is large. In use, parameters are gathered over
    fsdp: at the beginning of a step, or where the model does it itself.

    Raises:
      InputError: a rule with an axis that no mesh has.
    """

    def __init__(self, mesh: Mesh, sharding: Sharding = BY_SIZE, more: Iterable[str] = ()):
        self.mesh = mesh
        self.is_divided = divides_state(mesh)
        self._given = [rule_of(text) for text in more]
        if self._given and not self.is_divided:
            raise InputError(
                f"shard = {self._given[0].pattern}; expected a mesh with fsdp or model:"
                " --mesh data=1,fsdp=2"
            )
        self._rules = [*self._given, *sharding.rules]
        self._late = re.compile(sharding.late) if sharding.late else None

    def shardings(self, tree: PyTree) -> PyTree:
        """Returns the sharding of every array of a tree of arrays or shapes.

        Raises:
          InputError: an axis that the mesh does not divide, or a rule of the user's for nothing.
        """
        paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        for rule in self._given:
            if not any(re.search(rule.pattern, path) for path in paths):
                shown = ", ".join(path for path in paths if path.startswith("params"))[:200]
                raise InputError(
                    f"shard = {rule.pattern}; expected a pattern of a path, as of {shown}"
                )
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(self.mesh, self.spec(_path(path), leaf.shape)), tree
        )

    def spec(self, path: str, shape: tuple[int, ...]) -> PartitionSpec:
        """Says how the array of a path and shape is divided at rest."""
        if not self.is_divided:
            return PartitionSpec()
        axes, is_exact = self._ruled(path, shape)
        parts = self.mesh.shape.get(FSDP_AXIS, 1)
        used = {name for names in axes for name in across.names_of(names)}
        large = math.prod(shape) >= LEAST_DIVIDED
        if parts > 1 and large and not is_exact and FSDP_AXIS not in used:
            free = [at for at, names in enumerate(axes) if names is None and shape[at] % parts == 0]
            if free:
                largest = max(free, key=lambda at: shape[at])
                axes = (*axes[:largest], FSDP_AXIS, *axes[largest + 1 :])
        return PartitionSpec(*axes)

    def spec_in_use(self, path: str, shape: tuple[int, ...]) -> PartitionSpec:
        """Says how the array lies where a model uses it: as at rest, but not divided over fsdp."""
        kept = [
            tuple(name for name in across.names_of(names) if name != FSDP_AXIS)
            for names in self.spec(path, shape)
        ]
        return PartitionSpec(*(names or None for names in kept))

    def in_use(self, state: PyTree, updated: bool) -> PyTree:
        """Gathers what a function of a state uses.

        updated: the function updates the state, of which moments and averages then stay divided.
        """
        if not self.is_divided:
            return state

        def gathered(path: Any, leaf: jax.Array) -> jax.Array:
            name = _path(path)
            is_only_updated = name.split("/")[0] in _ONLY_UPDATED and updated
            spec = self.spec_in_use(name, leaf.shape)
            is_late = self._late is not None and self._late.search(name)
            if is_only_updated or is_late or spec == self.spec(name, leaf.shape):
                return leaf
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, spec))

        return jax.tree_util.tree_map_with_path(gathered, state)

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        """Makes models heed the mesh in what is traced inside."""
        if not self.is_divided:
            yield
            return
        with across.use_mesh(self.mesh, self.spec_in_use):
            yield

    def put(self, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Puts arrays of the host, by their paths, to their places: each device gets its part."""
        return {
            path: jax.make_array_from_callback(
                array.shape,
                NamedSharding(self.mesh, self.spec(path, array.shape)),
                array.__getitem__,
            )
            for path, array in arrays.items()
        }

    def _ruled(self, path: str, shape: tuple[int, ...]) -> tuple[Axes, bool]:
        """Returns the axes that the first fitting rule gives, and whether nothing may be added."""
        for rule in self._rules:
            if len(rule.axes) == len(shape) and re.search(rule.pattern, path):
                if rule.optional and not self._divides(shape, rule.axes):
                    continue
                self._require_divisible(path, shape, rule.axes)
                return tuple(rule.axes), rule.exact
        return (None,) * len(shape), False

    def _divides(self, shape: tuple[int, ...], axes: Axes) -> bool:
        """Whether a mesh has several devices along all of these axes, and they divide a shape."""
        named = [name for names in axes for name in across.names_of(names)]
        return all(self.mesh.shape[name] > 1 for name in named) and not any(
            size % self._parts(names) for size, names in zip(shape, axes, strict=True)
        )

    def _parts(self, names: str | tuple[str, ...] | None) -> int:
        return math.prod(self.mesh.shape[name] for name in across.names_of(names))

    def _require_divisible(self, path: str, shape: tuple[int, ...], axes: Axes) -> None:
        for size, names in zip(shape, axes, strict=True):
            parts = self._parts(names)
            if size % parts:
                named = " * ".join(across.names_of(names))
                raise InputError(
                    f"mesh has {named} = {parts}, which does not divide {path} {list(shape)};"
                    f" expected a divisor of {size}: {across.nearest_divisors(size, parts)}"
                )


def rule_of(text: str) -> ShardingRule:
    """Reads a rule of the command line, PATTERN=AXIS,AXIS, as "embedding$=-,fsdp+model".

    Raises:
      InputError: text of another form.
    """
    pattern, equals, written = text.rpartition("=")
    axes = [tuple(part.split("+")) if part != "-" else () for part in written.split(",")]
    unknown = [name for names in axes for name in names if name not in AXES]
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(f"shard = {text}; {pattern} is no pattern: {error}") from None
    if not equals or not pattern or unknown:
        raise InputError(
            f"shard = {text}; expected PATTERN=AXES, an axis ({FSDP_AXIS}, {MODEL_AXIS}, or - for"
            " none) for each axis of the array, as 'embedding$=-,fsdp'"
        )
    return ShardingRule(pattern, tuple(names or None for names in axes), exact=True)


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
