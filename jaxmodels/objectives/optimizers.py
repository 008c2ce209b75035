"""Optimizers and schedules of optax by name; their rates are hyperparameters in the state."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxmodels.errors import InputError, require_known
from jaxmodels.protocol import Hyperparameters, PyTree

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "lion", "muon")
SCHEDULES = ("constant", "cosine", "warmup_cosine", "step", "milestones")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters are updated."""

    optimizer: str = "adam"
    """Update rule: sgd, momentum, adam, adamw, lion or muon."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: str = "cosine"
    """Course of the learning rate: constant, cosine (to 0 at --steps), warmup_cosine, step,
    milestones."""
    warmup_steps: int = 100
    """Steps of linear warm-up (warmup_cosine)."""
    decay_every: int = 1000
    """Steps between decays (step)."""
    milestones: tuple[int, ...] = ()
    """Steps at which the rate decays (milestones)."""
    decay_rate: float = 0.1
    """Factor of each decay (step, milestones)."""
    momentum: float = 0.9
    """Decay of the first moment: of momentum and muon, beta 1 of Adam, AdamW and Lion."""
    second_momentum: float = 0.999
    """Decay of the second moment (beta 2 of Adam, AdamW; Lion's usual value is 0.99)."""
    epsilon: float = 1e-8
    """Added to the root of the second moment (Adam, AdamW)."""
    weight_decay: float = 0.0
    """Weight decay, biases and norms excepted: decoupled for adamw, lion, muon; L2 otherwise."""
    clip: float = 0.0
    """Largest global gradient norm; 0: no clipping."""

    @property
    def schedule_ends(self) -> bool:
        """Whether the schedule is laid out over `steps`, so that a run cannot be extended."""
        return self.schedule in ("cosine", "warmup_cosine")

    def validate(self) -> None:
        """Checks every field.

        Raises:
          InputError: an unknown name, or a number out of range.
        """
        require_known("optimizer", self.optimizer, OPTIMIZERS)
        require_known("schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "decay_rate", "weight_decay", "clip", "epsilon"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} = {value}; expected a finite number >= 0")
        for name in ("momentum", "second_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 <= {name} < 1")
        if self.warmup_steps < 0 or self.decay_every < 1:
            raise InputError(
                f"warmup_steps = {self.warmup_steps}, decay_every = {self.decay_every};"
                " expected warmup_steps >= 0 and decay_every >= 1"
            )
        ascending = all(a < b for a, b in pairwise((0, *self.milestones)))
        if not ascending or (self.schedule == "milestones") != bool(self.milestones):
            raise InputError(
                f"schedule = {self.schedule}, milestones = {self.milestones}; expected increasing"
                " steps with --schedule milestones, and none without"
            )

    def hyperparameters(self) -> Hyperparameters:
        """The numbers of this config that are traced in the state."""
        names = (
            "learning_rate",
            "decay_rate",
            "momentum",
            "second_momentum",
            "epsilon",
            "weight_decay",
            "clip",
        )
        return {name: getattr(self, name) for name in names}


def decayed(params: PyTree) -> PyTree:
    """Marks the parameters that weight decay acts on: kernels, and neither biases nor norms.

    The scales and biases of a conditional BatchNorm are tables, so names tell them from kernels.
    """

    def is_kernel(path, parameter):
        name = getattr(path[-1], "key", "") if path else ""
        return parameter.ndim > 1 and name not in ("scale", "bias")

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def scheduled_rate(
    config: OptimizerConfig, steps: int, hyperparameters: PyTree, step: Int[Array, ""]
) -> Float[Array, ""]:
    """Computes the learning rate at a step of a run of `steps`.

    The cosine is half a period of SGDR's (Loshchilov & Hutter 2017, equation 5).
    """
    at = step.astype(jnp.float32)
    warmup = min(config.warmup_steps, steps) if config.schedule == "warmup_cosine" else 0
    factor = jnp.ones(())
    if config.schedule_ends:
        progress = jnp.clip((at - warmup) / max(steps - warmup, 1), 0, 1)
        factor = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    if warmup:
        factor = jnp.where(step < warmup, (at + 1) / warmup, factor)
    if config.schedule == "step":
        decays = (step // config.decay_every).astype(jnp.float32)
        factor = hyperparameters["decay_rate"] ** decays
    if config.schedule == "milestones":
        decays = jnp.sum(step >= jnp.array(config.milestones)).astype(jnp.float32)
        factor = hyperparameters["decay_rate"] ** decays
    return hyperparameters["learning_rate"] * factor


def make_optimizer(
    config: OptimizerConfig, hyperparameters: PyTree, rate: Float[Array, ""]
) -> optax.GradientTransformation:
    """Makes the update rule at a learning rate.

    The config decides which terms exist (static); the hyperparameters give their numbers (traced).
    Each traced step makes the rule anew, so that no number becomes a constant of the program.
    """
    beta, beta2 = hyperparameters["momentum"], hyperparameters["second_momentum"]
    epsilon = hyperparameters["epsilon"]
    rules = {
        "sgd": optax.identity,
        "momentum": lambda: optax.trace(decay=beta),
        "adam": lambda: optax.scale_by_adam(b1=beta, b2=beta2, eps=epsilon),
        "adamw": lambda: optax.scale_by_adam(b1=beta, b2=beta2, eps=epsilon),
        "lion": lambda: optax.scale_by_lion(b1=beta, b2=beta2),
        "muon": lambda: _scale_by_muon_and_adam(beta, beta2),
    }
    parts = []
    if config.clip > 0:
        parts.append(optax.clip_by_global_norm(hyperparameters["clip"]))
    parts.append(rules[config.optimizer]())
    if config.weight_decay > 0:
        decay = _add_decay(hyperparameters["weight_decay"])
        decoupled = config.optimizer in ("adamw", "lion", "muon")
        parts.insert(len(parts) if decoupled else len(parts) - 1, decay)
    parts.append(optax.scale(-rate))
    return optax.chain(*parts)


def _add_decay(weight_decay: Float[Array, ""]) -> optax.GradientTransformation:
    def init(params):
        return optax.EmptyState()

    def update(updates, state, params=None):
        def add(update, parameter, is_decayed):
            return update + weight_decay * parameter if is_decayed else update

        return jax.tree.map(add, updates, params, decayed(params)), state

    return optax.GradientTransformation(init, update)


def _scale_by_muon_and_adam(
    beta: Float[Array, ""], beta2: Float[Array, ""]
) -> optax.GradientTransformation:
    """Makes the rule of Muon (Jordan et al. 2024) for kernels and Adam for the rest.

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
