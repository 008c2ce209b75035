"""The flags of a variational objective."""

from dataclasses import dataclass

from jax import tree_util

from jaxmodels.errors import InputError, require_known
from jaxmodels.ops.latents import Inference
from jaxmodels.protocol import Hyperparameters

BOUNDS = ("elbo", "iwae", "dreg", "beta_tc", "infovae", "wae")


@dataclass(frozen=True, kw_only=True)
class VariationalConfig:
    """Which bound of the log-likelihood is maximised, and the weights of its terms."""

    objective: str = "elbo"
    """Bound: elbo (with --beta: beta-VAE), iwae (importance-weighted), dreg (the same bound, doubly
    reparameterised gradient), beta_tc, infovae, wae (MMD instead of the KL)."""
    particles: int = 1
    """Samples of the posterior per image: elbo takes their mean, iwae and dreg weigh them."""
    beta: float = 1.0
    """Weight of the KL, or of the total correlation for beta_tc. Scores never include it."""
    kl_warmup: int = 0
    """Steps in which the weight of the KL rises linearly to --beta; 0: it is --beta at once."""
    free_bits: float = 0.0
    """Nats of KL per group of latents below which it is not reduced any further (elbo)."""
    stratified: bool = False
    """Estimate the terms of beta_tc by stratified instead of weighted minibatches."""
    alpha: float = 0.0
    """Weight of the mutual information that is taken off the KL (infovae)."""
    mmd: float = 10.0
    """Weight of the distance between aggregate posterior and prior (infovae: lambda, wae)."""
    commitment: float = 0.25
    """Weight of the distance of an encoder's outputs to their codes (vqvae)."""
    ema: float = 0.0
    """Decay of the average of parameters to evaluate and sample with; 0: no average."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or flags that clash."""
        require_known("objective", self.objective, BOUNDS)
        if self.particles < 1:
            raise InputError(f"particles = {self.particles}; expected at least 1")
        for name in ("beta", "free_bits", "mmd", "commitment", "kl_warmup"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} = {value}; expected a finite number >= 0")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 <= ema < 1")
        if not 0 <= self.alpha < 1:
            raise InputError(
                f"alpha = {self.alpha}; expected 0 <= alpha < 1; for 1, --objective wae"
            )
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
        """Returns the numbers of this config that are traced in the state."""
        names = ("beta", "free_bits", "alpha", "mmd", "commitment", "ema")
        return {name: getattr(self, name) for name in names}


def require_allowed(config: VariationalConfig, model: str, inference: Inference) -> None:
    """Raises InputError for a bound that the named model does not allow.

    inference: what the model's `infer` returns; shapes instead of arrays do.
    """
    bound, reason = config.objective, ""
    if inference.codes is not None:
        if bound != "elbo" or config.free_bits or config.particles > 1:
            reason = (
                "its posterior is one code with certainty, for which more samples, free bits or"
                " distances to the prior mean nothing; it has --objective elbo"
            )
    elif bound in ("dreg", "beta_tc") and inference.posterior is None:
        reason = (
            "needs the density of q(z|x) at any z, which is known where it is one normal"
            " distribution: --model mlp or conv, --flows 0"
        )
    elif bound in ("infovae", "wae") and not tree_util.all_leaves([inference.latents]):
        reason = (
            "needs a prior that is one fixed distribution, which that of a ladder is not:"
            " --model mlp or conv"
        )
    if reason:
        raise InputError(f"objective = {bound} with {model}: {reason}")
