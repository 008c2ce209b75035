"""Terms of update rules: decay and rates by kind of parameter, caution, and both kinds of Muon."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxmodels.objectives.muon import Orthogonalize, scale_by_muon
from jaxmodels.objectives.parameter_kinds import Kind, decayed, kinds_of
from jaxmodels.protocol import PyTree

Numbers = Mapping[Kind, Float[Array, ""]]


def add_decay(strengths: Numbers, cautious: bool = False) -> optax.GradientTransformation:
    """Makes the term that adds each parameter, times the strength of its kind, to its update.

    cautious: only where that has the sign of the update, or the update is zero (Chen et al. 2025,
      "Cautious Weight Decay", algorithm 1).
    """

    def add(kind, update, parameter):
        if kind not in strengths:
            return update
        decay = strengths[kind] * parameter
        if cautious:
            decay = jnp.where(update * parameter >= 0, decay, 0)
        return update + decay

    def update(updates, state, params=None):
        return jax.tree.map(add, kinds_of(params), updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_rates(rates: Numbers) -> optax.GradientTransformation:
    """Makes the last term, which steps down by the learning rate of each parameter's kind; kinds
    without one stay as they are."""

    def scale(kind, leaf):
        return -rates[kind] * leaf if kind in rates else jnp.zeros_like(leaf)

    def update(updates, state, params=None):
        return jax.tree.map(scale, kinds_of(updates), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def multiplied(
    rule: optax.GradientTransformation, multipliers: PyTree
) -> optax.GradientTransformation:
    """Makes a rule whose update of each parameter is multiplied by a number."""

    def update(gradients, state, params=None):
        updates, state = rule.update(gradients, state, params)
        return jax.tree.map(lambda leaf, by: leaf * by, updates, multipliers), state

    return optax.GradientTransformation(rule.init, update)


def cautious(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """Makes a rule that leaves out the parts of an update whose sign is not the gradient's.

    What is left of a parameter's update is divided by its share, but not by less than 0.001, so
    that the step keeps its length (Liang et al. 2024, "Cautious Optimizers", algorithm 1 and the
    authors' code at github.com/kyleliang919/C-Optim).
    """

    def masked(update, gradient):
        agrees = (update * gradient > 0).astype(update.dtype)
        return update * agrees / jnp.maximum(jnp.mean(agrees), 1e-3)

    def update(gradients, state, params=None):
        updates, state = rule.update(gradients, state, params)
        return jax.tree.map(masked, updates, gradients), state

    return optax.GradientTransformation(rule.init, update)


def muon_with_adam(
    beta: Float[Array, ""], orthogonalize: Orthogonalize, adam: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Makes the rule of Muon for kernels and Adam for embeddings, heads and vectors, as its authors
    advise."""

    def rules(params):
        return jax.tree.map(lambda kind: "muon" if kind == "kernel" else "adam", kinds_of(params))

    return optax.partition({"muon": scale_by_muon(beta, orthogonalize), "adam": adam}, rules)


def muon_by_optax(beta: Float[Array, ""], beta2: Float[Array, ""]) -> optax.GradientTransformation:
    """Makes the rule of optax's Muon for all that decays and Adam for the rest.

    The kernel of a convolution counts as the matrix [height * width * inputs, outputs]. Muon's
    updates are scaled by sqrt(max(1, columns / rows)), as by its authors.
    """
    from optax import contrib

    def as_matrices(params):
        return jax.tree.map(
            lambda p: contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1), params
        )

    def scale(updates, _):
        return jax.tree.map(
            lambda u: u * max(1, u.shape[-1] * u.shape[-1] / u.size) ** 0.5, updates
        )

    def rules(params):
        return jax.tree.map(lambda is_kernel: "muon" if is_kernel else "adam", decayed(params))

    muon = optax.chain(
        contrib.scale_by_muon(beta=beta, weight_dimension_numbers=as_matrices),
        optax.stateless(scale),
    )
    adam = optax.scale_by_adam(b1=beta, b2=beta2)
    return optax.partition({"muon": muon, "adam": adam}, rules)
