"""Training a part of a model: what is trained, what is kept, and how fast each layer learns.

A state whose model is trained in part has the rest of its parameters in "frozen", and in "params"
only what an optimizer moves. So nothing is computed, averaged or remembered for what is frozen:
gradients are taken in "params" alone, and XLA drops the backward passes that nobody reads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError, closest
from jaxmodels.objectives.adapters import ADAPTER, adapted, draw_adapter
from jaxmodels.protocol import Hyperparameters, PyTree

_SHOWN = 6  # names in a message


@dataclass(frozen=True, kw_only=True)
class PartsConfig:
    """What of a model is trained, and at which rates."""

    freeze: str = ""
    """Keep the parameters as they are whose paths this regular expression finds, as
    '^(?!head)' for all but the head; BatchNorm there keeps its statistics."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it (Clark et al. 2020,
    ELECTRA, section A.2); 1: all layers have the same."""
    adapter_rank: int = 0
    """Train low-rank adapters (Hu et al. 2021) of this rank and keep everything else; 0: none."""
    adapter_on: str = ""
    """Regular expression of the paths of kernels that get adapters."""
    adapter_scale: float = 1.0
    """Factor of the product of adapters, kernel + scale * A @ B (alpha / rank of Hu et al.)."""
    adapter_also: str = ""
    """Regular expression of the paths of parameters that are trained beside adapters, as head."""

    @property
    def is_partial(self) -> bool:
        """Whether anything is kept as it is."""
        return bool(self.freeze) or self.adapter_rank > 0

    def validate(self) -> None:
        """Raises InputError for a bad regular expression, a number out of range, or flags that do
        not go together."""
        for name in ("freeze", "adapter_on", "adapter_also"):
            expression = getattr(self, name)
            try:
                re.compile(expression)
            except re.error as error:
                raise InputError(
                    f"{name} = {expression}; expected a regular expression: {error}"
                ) from None
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"layer_decay = {self.layer_decay}; expected above 0 and at most 1")
        if self.adapter_rank < 0:
            raise InputError(f"adapter_rank = {self.adapter_rank}; expected a rank, or 0 for none")
        if not 0 < self.adapter_scale < float("inf"):
            raise InputError(
                f"adapter_scale = {self.adapter_scale}; expected a finite number above 0"
            )
        self._validate_adapters()

    def _validate_adapters(self) -> None:
        standard = type(self)()
        if self.adapter_rank and not self.adapter_on:
            raise InputError(
                f"adapter_rank = {self.adapter_rank} without adapter_on; expected where adapters"
                " are: --adapter-on '(query|value)/kernel'"
            )
        if self.adapter_rank and self.freeze:
            raise InputError(
                f"freeze = {self.freeze} with adapter_rank = {self.adapter_rank}; adapters keep all"
                " else as it is: leave --freeze out, or name what trains too by --adapter-also"
            )
        for name in ("adapter_on", "adapter_scale", "adapter_also"):
            if not self.adapter_rank and getattr(self, name) != getattr(standard, name):
                raise InputError(
                    f"{name} = {getattr(self, name)} without adapters; expected --adapter-rank"
                )

    def hyperparameters(self) -> Hyperparameters:
        """Returns the numbers that are traced in the state, of the terms that there are."""
        numbers = {}
        if self.layer_decay != 1:
            numbers["layer_decay"] = self.layer_decay
        if self.adapter_rank:
            numbers["adapter_scale"] = self.adapter_scale
        return numbers


class Parts(NamedTuple):
    """The parameters of a model in two trees, which keep their paths. In place of a kernel with an
    adapter, the trained tree has both factors."""

    trained: PyTree
    frozen: PyTree


def divide(config: PartsConfig, params: PyTree, key: Key[Array, ""] | None = None) -> Parts:
    """Divides parameters into those that are trained, with fresh adapters, and those that are kept.

    key: draws the adapters; None where there are none.

    Raises:
      InputError: a regular expression that finds nothing, or leaves nothing to train or to keep; or
        a rank that a kernel does not have.
    """
    flat = flatten_dict(params, sep="/")
    if not config.adapter_rank:
        found = _found("freeze", config.freeze, flat)
        if len(found) == len(flat):
            raise InputError(
                f"freeze = {config.freeze} keeps all {len(flat)} parameters; expected some to train"
            )
        trained = {path: leaf for path, leaf in flat.items() if path not in found}
        frozen = {path: flat[path] for path in found}
        return Parts(unflatten_dict(trained, sep="/"), unflatten_dict(frozen, sep="/"))
    if key is None:
        raise ValueError("adapters without a key; expected initial_state(..., key=key)")
    also = _found("adapter_also", config.adapter_also, flat) if config.adapter_also else set()
    kernels = {path: leaf for path, leaf in flat.items() if _is_matrix(path, leaf)}
    adapting = _found("adapter_on", config.adapter_on, kernels, "kernel") - also
    if not adapting:
        raise InputError(
            f"adapter_also = {config.adapter_also} trains all that adapter_on ="
            f" {config.adapter_on} finds; expected adapters on kernels that are kept"
        )
    trained = {path: leaf for path, leaf in flat.items() if path in also}
    for path in (path for path in flat if path in adapting):
        factors = draw_adapter(key, path, flat[path], config.adapter_rank)
        trained |= {f"{path}/{name}": factor for name, factor in factors.items()}
    frozen = {path: leaf for path, leaf in flat.items() if path not in also}
    return Parts(unflatten_dict(trained, sep="/"), unflatten_dict(frozen, sep="/"))


def _is_matrix(path: str, leaf: Any) -> bool:
    return leaf.ndim >= 2 and path.rpartition("/")[2] not in ("scale", "bias")


def _found(
    name: str, expression: str, flat: Mapping[str, Any], what: str = "parameter"
) -> set[str]:
    """Returns the paths that an expression finds.

    Raises:
      InputError: it finds none; the nearest ones are named.
    """
    found = {path for path in flat if re.search(expression, path)}
    if not found:
        modules = {"/".join(path.split("/")[:end]) for path in flat for end in range(1, 9)}
        near = closest(expression.strip("^$"), sorted(modules)).rstrip(".")
        tops = list(dict.fromkeys(path.split("/")[0] for path in flat))
        shown = ", ".join(tops[:_SHOWN]) + (" and others" if len(tops) > _SHOWN else "")
        raise InputError(
            f"{name} = {expression} finds no {what}{near}; expected a regular expression of paths"
            f" like {next(iter(flat))}, which begin with {shown}"
        )
    return found


def complete(trained: PyTree, frozen: PyTree, scale: Float[Array, ""] | float = 1.0) -> PyTree:
    """Returns the parameters that a model is applied with: those of both trees, and kernels with
    adapters as kernel + scale * A @ B."""
    if not isinstance(frozen, Mapping):
        return adapted(frozen, trained, scale)
    whole = dict(frozen)
    for name, part in trained.items():
        whole[name] = complete(part, frozen[name], scale) if name in frozen else part
    return whole


def replaced(parts: Parts, params: PyTree) -> Parts:
    """Puts other parameters of the same model into both trees; adapters stay."""
    return Parts(_with_new(parts.trained, params), restricted(params, parts.frozen))


def _with_new(trained: PyTree, params: PyTree) -> PyTree:
    if not isinstance(params, Mapping):
        return trained if isinstance(trained, Mapping) else params
    return {name: _with_new(part, params[name]) for name, part in trained.items()}


def restricted(tree: PyTree, trained: PyTree) -> PyTree:
    """Takes from a tree with a leaf for each parameter of a model those of trained parameters. Both
    factors of an adapter get the leaf of their kernel."""
    if not isinstance(tree, Mapping):
        return dict.fromkeys(ADAPTER, tree) if isinstance(trained, Mapping) else tree
    return {name: restricted(tree[name], part) for name, part in trained.items()}


def merged_part(state: Mapping[str, Any], trained: PyTree, name: str = "") -> PyTree:
    """Returns the parameters of a model from trained ones and those that its state keeps.

    name: which of the models of the state; "": there is one.
    """
    if "frozen" not in state:
        return trained
    frozen = state["frozen"][name] if name else state["frozen"]
    return complete(trained, frozen, state["hyperparameters"].get("adapter_scale", 1.0))
