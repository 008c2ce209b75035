"""The maximal update parametrisation: rates that are tuned at one width hold at every width.

Source: Yang et al. 2022, "Tensor Programs V", table 8, in multiples of a base width; for Muon the
spectral condition of Yang, Simon & Bernstein 2023, "A Spectral Condition for Feature Learning".

    base, shapes = (jax.eval_shape(model.init, key, x)["params"] for model in (small, large))
    factors = multipliers("adamw", base, shapes)

An objective multiplies the model's logits by `factors.output`, starts from `initial_values` and
gives `factors.updates` to `descend`. At the base width all of this changes nothing.

Attention needs nothing where wider models have more heads of the same size; where heads grow, its
logits are divided by their size, not by its root (definition 4.1 of the paper).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmodels.errors import InputError
from jaxmodels.objectives.parameter_kinds import Kind, kind_of
from jaxmodels.protocol import PyTree

ADAPTIVE = ("adam", "adamw", "lion")


class Multipliers(NamedTuple):
    """Factors of a width, relative to the base width."""

    updates: PyTree  # of each parameter's update; weight decay is not multiplied
    deviations: PyTree  # of the standard deviation of each parameter's initial values
    output: float  # of the model's outputs


class Growth(NamedTuple):
    """A parameter at two widths, as a matrix: all axes but the last are its inputs."""

    name: str
    kind: Kind
    base_inputs: int
    base_outputs: int
    inputs: int
    outputs: int

    @property
    def by_inputs(self) -> float:
        return self.inputs / self.base_inputs

    @property
    def by_outputs(self) -> float:
        return self.outputs / self.base_outputs

    @property
    def is_output(self) -> bool:
        """Whether it maps a growing width to a fixed number of outputs."""
        return self.by_inputs != 1 and self.by_outputs == 1


def multipliers(optimizer: str, base: PyTree, shapes: PyTree) -> Multipliers:
    """Computes the factors of a width from the shapes of the parameters at the base width and here.

    What grows decides: matrices of which both axes grow are hidden, a growing last axis belongs to
    an input (embeddings, biases, gains), another growing axis to an output.

    Raises:
      InputError: an optimizer without a rule, other parameters at the two widths, outputs that grow
        differently, or an output that Muon would update.
    """
    growths = _growths(base, shapes)
    update = _rule(optimizer)
    listed = jax.tree.leaves(growths, is_leaf=_is_growth)
    for growth in listed:
        if optimizer == "muon_jordan" and growth.is_output and growth.kind == "kernel":
            raise InputError(
                f"parameter {growth.name} maps the width to outputs; expected it in a module"
                " 'head', because Adam updates it beside Muon"
            )

    def each(function: Callable[[Growth], float]) -> PyTree:
        return jax.tree.map(function, growths, is_leaf=_is_growth)

    return Multipliers(each(update), each(_deviation), 1 / _width_of_outputs(listed))


def initial_values(params: PyTree, base_params: PyTree, deviations: PyTree) -> PyTree:
    """Scales initial values to the deviations that the base width's values imply.

    It measures root mean squares, so that it holds for whatever initialisers a model has. Zeros
    stay zeros, and parameters of the base width's shape stay as they are.
    """

    def scaled(values, base, deviation):
        if values.shape == base.shape:
            return values
        own = _root_mean_square(values)
        factor = deviation * _root_mean_square(base) / jnp.where(own > 0, own, 1)
        return values * jnp.where(own > 0, factor, 1).astype(values.dtype)

    return jax.tree.map(scaled, params, base_params, deviations)


def _root_mean_square(values: Array) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(jnp.square(values)))


def _rule(optimizer: str) -> Callable[[Growth], float]:
    if optimizer in ADAPTIVE:
        return _adaptive_update
    if optimizer == "muon_jordan":
        return lambda growth: (
            _muon_update(growth) if growth.kind == "kernel" else _adaptive_update(growth)
        )
    raise InputError(
        f"optimizer = {optimizer} with muP; expected one of {', '.join((*ADAPTIVE, 'muon_jordan'))}"
    )


def _adaptive_update(growth: Growth) -> float:
    """Computes 1 / inputs for hidden matrices, and 1 for others (table 8, Adam)."""
    return 1 / growth.by_inputs if growth.by_outputs != 1 else 1.0


def _muon_update(growth: Growth) -> float:
    """Makes the spectral norm of an update grow as sqrt(outputs / inputs), of which Muon's own
    scaling does a part."""

    def scaling(inputs: int, outputs: int) -> float:
        return math.sqrt(max(1, outputs / inputs))

    wanted = math.sqrt(growth.by_outputs / growth.by_inputs)
    done = scaling(growth.inputs, growth.outputs)
    return wanted * scaling(growth.base_inputs, growth.base_outputs) / done


def _deviation(growth: Growth) -> float:
    """Computes the deviation from the variance of table 8: 1 / inputs for hidden matrices and 1
    for outputs; inputs do not grow."""
    return growth.by_inputs**-0.5 if growth.by_outputs != 1 else 1.0


def _width_of_outputs(growths: list[Growth]) -> float:
    """Returns how many times wider the model's last layer is.

    A model without an output of its own uses its embedding for it, whose last axis is the width.
    """
    widths = {growth.name: growth.by_inputs for growth in growths if growth.is_output}
    if not widths:
        widths = {g.name: g.by_outputs for g in growths if g.kind == "embedding"}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width:g}" for name, width in widths.items())
        raise InputError(f"outputs grow by different factors, {listed}; expected one width")
    return next(iter(widths.values()), 1.0)


def _growths(base: PyTree, shapes: PyTree) -> PyTree:
    """Pairs the parameters of two widths."""
    names = [
        [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        for tree in (base, shapes)
    ]
    if names[0] != names[1]:
        differ = sorted(set(names[0]) ^ set(names[1]))
        raise InputError(
            f"parameters {', '.join(differ[:3])} are there at one width only; expected models that"
            " differ in width alone"
        )
    return jax.tree_util.tree_map_with_path(_growth, base, shapes)


def _growth(path: tuple[Any, ...], base: Any, here: Any) -> Growth:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if base.ndim != here.ndim:
        raise InputError(
            f"parameter {name} has shapes {base.shape} and {here.shape}; expected models that"
            " differ in width alone"
        )

    def sides(shape: tuple[int, ...]) -> tuple[int, int]:
        return math.prod(shape[:-1]), shape[-1] if shape else 1

    return Growth(name, kind_of(path, here), *sides(base.shape), *sides(here.shape))


def _is_growth(node: Any) -> bool:
    return isinstance(node, Growth)
