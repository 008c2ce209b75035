"""Optimizers of optax and Muon by name; their rates are hyperparameters in the state."""

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Literal, get_args

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.muon import STEEP, Coefficients, orthogonalized
from jaxmodels.objectives.parameter_kinds import Kind
from jaxmodels.objectives.parts import PartsConfig
from jaxmodels.objectives.update_rules import (
    add_decay,
    cautious,
    multiplied,
    muon_by_optax,
    muon_with_adam,
    scale_by_rates,
)
from jaxmodels.protocol import Hyperparameters, PyTree

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "lion", "muon", "muon_jordan")
DECOUPLED = ("adamw", "lion", "muon", "muon_jordan")
SCHEDULES = ("constant", "cosine", "warmup_cosine", "trapezoid", "step", "milestones")
# Fields that multiply the rate or the decay of a kind of parameters, with their neutral values.
FACTORS = {
    "embedding_rate": 1.0,
    "head_rate": 1.0,
    "vector_rate": 1.0,
    "embedding_decay": 1.0,
    "head_decay": 1.0,
    "vector_decay": 0.0,
}
Precision = Literal["bfloat16", "float32"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters are updated."""

    optimizer: str = "adam"
    """Update rule: sgd, momentum, adam, adamw, lion, muon (optax's) or muon_jordan (its authors':
    Muon for kernels, AdamW for embeddings, head and vectors)."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: str = "cosine"
    """Course of the learning rate: constant, cosine (to 0 at --steps), warmup_cosine, trapezoid
    (warm-up, constant, linear to 0 at --steps), step, milestones."""
    warmup_steps: int = 100
    """Steps of linear warm-up (warmup_cosine, trapezoid)."""
    final_rate: float = 0.0
    """Share of the learning rate at --steps, instead of 0 (cosine, warmup_cosine, trapezoid)."""
    cooldown: float = 0.7
    """Last share of the steps in which the rate falls (trapezoid); 0: never, and a larger --steps
    extends the run."""
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
    """Added to the root of the second moment (Adam, AdamW, the Adam of muon_jordan)."""
    weight_decay: float = 0.0
    """Weight decay, biases and norms excepted: decoupled for adamw, lion, muon; L2 otherwise."""
    clip: float = 0.0
    """Largest global gradient norm; 0: no clipping."""
    embedding_rate: float = 1.0
    """Learning rate of embeddings, as a multiple of --learning-rate."""
    head_rate: float = 1.0
    """Learning rate of the head, as a multiple of --learning-rate."""
    vector_rate: float = 1.0
    """Learning rate of biases, gains and scalars, as a multiple of --learning-rate."""
    embedding_decay: float = 1.0
    """Weight decay of embeddings, as a multiple of --weight-decay."""
    head_decay: float = 1.0
    """Weight decay of the head, as a multiple of --weight-decay."""
    vector_decay: float = 0.0
    """Weight decay of biases, gains and scalars, as a multiple of --weight-decay."""
    cautious: bool = False
    """Update only where the sign of the update is the gradient's (Liang et al. 2024)."""
    cautious_decay: bool = False
    """Decay only where this has the direction of the update (Chen et al. 2025; adamw, lion,
    muon)."""
    adam_momentum: float | None = None
    """Beta 1 of the Adam of muon_jordan; None: --momentum."""
    muon_steps: int = 5
    """Newton-Schulz steps of muon_jordan."""
    muon_coefficients: Coefficients = STEEP
    """Coefficients of a Newton-Schulz step; 2 -1.5 0.5 converges, in about 12 steps
    (muon_jordan)."""
    muon_precision: Precision = "bfloat16"
    """Type in which muon_jordan orthogonalises; float32: that of the parameters."""
    parts: PartsConfig = field(default_factory=PartsConfig)

    @property
    def schedule_ends(self) -> bool:
        """Whether the schedule is laid out over `steps`, so that a run cannot be extended."""
        falls = self.schedule == "trapezoid" and self.cooldown > 0
        return falls or self.schedule in ("cosine", "warmup_cosine")

    def same_until(self, steps: int, other_steps: int) -> int:
        """Returns the step up to which runs of both lengths have the same learning rates.

        A run that has not gone beyond it is a run of the other length so far.
        """
        shorter = min(steps, other_steps)
        if not self.schedule_ends or steps == other_steps:
            return shorter
        if self.schedule != "trapezoid":
            return 0
        return int(shorter * (1 - self.cooldown))

    def validate(self) -> None:
        """Checks every field.

        Raises:
          InputError: an unknown name, a number out of range, or an option that this rule lacks.
        """
        require_known("optimizer", self.optimizer, OPTIMIZERS)
        require_known("schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "decay_rate", "weight_decay", "clip", "epsilon", *FACTORS):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} = {value}; expected a finite number >= 0")
        for name in ("momentum", "second_momentum", "adam_momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise InputError(f"{name} = {value}; expected 0 <= {name} < 1")
        if not 0 <= self.cooldown <= 1:
            raise InputError(f"cooldown = {self.cooldown}; expected a share of the steps, 0 to 1")
        if not 0 <= self.final_rate < 1:
            raise InputError(f"final_rate = {self.final_rate}; expected a share, 0 <= share < 1")
        if self.final_rate and not self.schedule_ends:
            raise InputError(
                f"final_rate = {self.final_rate} with schedule {self.schedule}, which does not end"
                " at --steps; expected cosine, warmup_cosine or trapezoid with a cooldown"
            )
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
        self._validate_rule()

    def _validate_rule(self) -> None:
        """Raises InputError for options that the rule lacks, and for bad ones of Muon."""
        require_known("muon_precision", self.muon_precision, get_args(Precision))
        if self.muon_steps < 1:
            raise InputError(f"muon_steps = {self.muon_steps}; expected at least 1")
        if not all(abs(number) < float("inf") for number in self.muon_coefficients):
            raise InputError(
                f"muon_coefficients = {self.muon_coefficients}; expected finite numbers"
            )
        if self.adam_momentum is not None and self.optimizer != "muon_jordan":
            raise InputError(
                f"adam_momentum = {self.adam_momentum} with optimizer {self.optimizer}; expected"
                " muon_jordan, whose kernels have another momentum: give --momentum"
            )
        if self.cautious and self.optimizer == "sgd":
            raise InputError(
                "cautious = True with optimizer sgd, whose updates have the gradient's sign;"
                " expected a rule with momentum"
            )
        if self.cautious_decay and (self.optimizer not in DECOUPLED or not self.weight_decay):
            raise InputError(
                f"cautious_decay = True with optimizer {self.optimizer}, weight_decay"
                f" {self.weight_decay}; expected a --weight-decay, and one of"
                f" {', '.join(DECOUPLED)}"
            )

    def hyperparameters(self) -> Hyperparameters:
        """Returns the numbers of this config that are traced in the state.

        The number of an optional term is among them only where the config has the term.
        """
        names = [
            "learning_rate",
            "decay_rate",
            "momentum",
            "second_momentum",
            "epsilon",
            "weight_decay",
            "clip",
        ]
        names += [name for name, neutral in FACTORS.items() if getattr(self, name) != neutral]
        if self.schedule == "trapezoid" and self.schedule_ends:
            names.append("cooldown")
        if self.final_rate:
            names.append("final_rate")
        if self.adam_momentum is not None:
            names.append("adam_momentum")
        return {name: getattr(self, name) for name in names} | dict(self.parts.hyperparameters())


def make_optimizer(
    config: OptimizerConfig,
    hyperparameters: PyTree,
    rate: Float[Array, ""],
    multipliers: PyTree | None = None,
    factors: PyTree | None = None,
) -> optax.GradientTransformation:
    """Makes the update rule at a learning rate.

    The config decides which terms exist (static); the hyperparameters give their numbers (traced).
    Each traced step makes the rule anew, so that no number becomes a constant of the program.

    multipliers: of the update of each parameter, before decoupled weight decay (see `mup`).
    factors: of the learning rate of each parameter, by its layer.
    """
    rule = _rule(config, hyperparameters)
    if config.cautious:
        rule = cautious(rule)
    if multipliers is not None:
        rule = multiplied(rule, multipliers)
    parts = [rule]
    if config.weight_decay > 0:
        strengths = _by_kind("decay", hyperparameters, hyperparameters["weight_decay"])
        decay = add_decay(strengths, config.cautious_decay)
        parts.insert(1 if config.optimizer in DECOUPLED else 0, decay)
    if config.clip > 0:
        parts.insert(0, optax.clip_by_global_norm(hyperparameters["clip"]))
    scale = scale_by_rates(_by_kind("rate", hyperparameters, rate))
    return optax.chain(*parts, scale if factors is None else multiplied(scale, factors))


def _rule(config: OptimizerConfig, hyperparameters: PyTree) -> optax.GradientTransformation:
    beta, beta2 = hyperparameters["momentum"], hyperparameters["second_momentum"]
    adam = partial(optax.scale_by_adam, b2=beta2, eps=hyperparameters["epsilon"])
    rules = {
        "sgd": optax.identity,
        "momentum": lambda: optax.trace(decay=beta),
        "adam": lambda: adam(b1=beta),
        "adamw": lambda: adam(b1=beta),
        "lion": lambda: optax.scale_by_lion(b1=beta, b2=beta2),
        "muon": lambda: muon_by_optax(beta, beta2),
        "muon_jordan": lambda: muon_with_adam(
            beta,
            partial(
                orthogonalized,
                coefficients=config.muon_coefficients,
                steps=config.muon_steps,
                dtype=jnp.bfloat16 if config.muon_precision == "bfloat16" else None,
            ),
            adam(b1=hyperparameters.get("adam_momentum", beta)),
        ),
    }
    return rules[config.optimizer]()


def _by_kind(
    term: str, hyperparameters: PyTree, number: Float[Array, ""]
) -> dict[Kind, Float[Array, ""]]:
    """Returns the rate or the decay of each kind of parameters, without kinds that have none."""
    numbers: dict[Kind, Float[Array, ""]] = {}
    for kind in get_args(Kind):
        if kind == "fixed":
            continue
        name = f"{kind}_{term}"
        if name in hyperparameters:
            numbers[kind] = number * hyperparameters[name]
        elif FACTORS.get(name, 1.0):
            numbers[kind] = number
    return numbers
