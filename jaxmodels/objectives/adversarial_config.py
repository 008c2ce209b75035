"""The flags of a generative adversarial network's objective."""

from dataclasses import dataclass
from typing import Literal

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.ops import AUGMENTATIONS


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The loss of the two networks, its penalties, and the order of updates."""

    loss: str = "non_saturating"
    """minimax, non_saturating, hinge, least_squares, wasserstein or relativistic (R3GAN)."""
    updates: Literal["alternating", "shared", "simultaneous"] = "alternating"
    """alternating: the generator learns after the discriminator, from fresh fakes; shared: from the
    same fakes, which saves a forward pass (PyTorch's tutorial); simultaneous: both learn from the
    same forward passes, with the fewest operations."""
    critic_steps: int = 1
    """Discriminator updates per step (per generator update), each on a batch of its own."""
    discriminator_learning_rate: float | None = None
    """Peak learning rate of the discriminator; None: that of the generator."""
    gradient_penalty: float = 0.0
    """Weight of (slope - 1)^2 between real images and fakes (WGAN-GP: 10)."""
    r1: float = 0.0
    """Weight gamma of half the squared slope at real images (R1)."""
    r2: float = 0.0
    """Weight gamma of half the squared slope at fakes (R2)."""
    lazy: int = 1
    """Compute gradient_penalty, r1 and r2 in one of so many discriminator updates, and multiply
    them by this number."""
    consistency: float = 0.0
    """Weight of (D(x) - D(augmented x))^2 at real images (CR-GAN: 10)."""
    consistency_fake: float = 0.0
    """The same at fakes (balanced consistency, bCR-GAN: 10)."""
    diff_augment: tuple[str, ...] = ()
    """Augment what the discriminator sees: any of color, translation, cutout."""
    ema: float = 0.999
    """Decay of the average of the generator's parameters, which samples come from; 0: none."""

    @property
    def penalizes_slope(self) -> bool:
        """Whether a penalty needs the discriminator's gradient at single examples."""
        return bool(self.gradient_penalty or self.r1 or self.r2)

    @property
    def has_penalty(self) -> bool:
        """Whether the discriminator's loss has any penalty."""
        return bool(self.penalizes_slope or self.consistency or self.consistency_fake)

    def validate(self) -> None:
        """Checks every field.

        Raises:
          InputError: an unknown name, or a number out of range.
        """
        require_known("loss", self.loss, LOSSES)
        require_known("updates", self.updates, ("alternating", "shared", "simultaneous"))
        for name in self.diff_augment:
            require_known("diff_augment", name, AUGMENTATIONS)
        weights = ("gradient_penalty", "r1", "r2", "consistency", "consistency_fake")
        for name in (*weights, "discriminator_learning_rate"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise InputError(f"{name} = {getattr(self, name)}; expected a finite number >= 0")
        for name in ("critic_steps", "lazy"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 1")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 <= ema < 1")
