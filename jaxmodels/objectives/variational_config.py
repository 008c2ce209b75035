"""The flags of a variational objective."""

from dataclasses import dataclass

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Hyperparameters

BOUNDS = ("elbo", "iwae", "dreg", "beta_tc", "infovae", "wae")


@dataclass(frozen=True, kw_only=True)
class VariationalConfig(OptimizerConfig):
    """What is maximised, and how parameters are updated."""

    objective: str = "elbo"
    """Bound: elbo (with --beta: beta-VAE), iwae (importance-weighted), dreg (the same bound, doubly
    reparameterised gradient), beta_tc, infovae, wae (MMD instead of the KL)."""
    particles: int = 1
    """Samples of the posterior per image: their mean for elbo, k of iwae and dreg."""
    beta: float = 1.0
    """Weight of the KL; beta_tc: of the total correlation. Scores never have it."""
    kl_warmup: int = 0
    """Steps in which the weight of the KL rises linearly to --beta."""
    free_bits: float = 0.0
    """Nats of KL per group of latents below which it is not reduced any further (elbo)."""
    stratified: bool = False
    """Estimate the terms of beta_tc by stratified instead of weighted minibatches."""
    alpha: float = 0.0
    """Weight of mutual information taken off the KL (infovae)."""
    mmd: float = 10.0
    """Weight of the distance between aggregate posterior and prior (infovae: lambda, wae)."""
    commitment: float = 0.25
    """Weight of the distance of an encoder's outputs to their codes (vqvae)."""
    ema: float = 0.0
    """Decay of the average of parameters to evaluate and sample with; 0: no average."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or flags that clash."""
        OptimizerConfig.validate(self)
        require_known("objective", self.objective, BOUNDS)
        if self.particles < 1:
            raise InputError(f"particles = {self.particles}; expected at least 1")
        for name in ("beta", "free_bits", "mmd", "commitment", "kl_warmup"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} = {value}; expected a finite number >= 0")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 <= ema < 1")
        if self.alpha >= 1 and self.objective == "infovae":
            raise InputError(f"alpha = {self.alpha}; expected below 1; with 1, --objective wae")
        for name, standard, bounds in (
            ("particles", 1, ("elbo", "iwae", "dreg")),
            ("free_bits", 0, ("elbo",)),
            ("alpha", 0, ("infovae",)),
            ("stratified", False, ("beta_tc",)),
            ("beta", 1, BOUNDS[:-1]),
            ("kl_warmup", 0, BOUNDS[:-1]),
        ):
            if getattr(self, name) != standard and self.objective not in bounds:
                raise InputError(
                    f"{name} = {getattr(self, name)}; objective '{self.objective}' has no such"
                    f" term: --objective {' or '.join(bounds)}"
                )

    def hyperparameters(self) -> Hyperparameters:
        names = ("beta", "free_bits", "alpha", "mmd", "commitment", "ema")
        return super().hyperparameters() | {name: getattr(self, name) for name in names}
