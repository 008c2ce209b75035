"""The pairs of generator and discriminator, and their options."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxmodels.models.gan_layers import NORMS, Shape
from jaxmodels.models.options import require_at_least
from jaxmodels.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxmodels.models.sngan import SNGANDiscriminator, SNGANGenerator

_GANS = {
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "sngan": (SNGANGenerator, SNGANDiscriminator),
    "r3gan": (R3GANGenerator, R3GANDiscriminator),
}


@dataclass(frozen=True, kw_only=True)
class GANModels:
    """Pairs of generator and discriminator, which all have the same options."""

    model: str = "dcgan"
    """Architecture of both networks: dcgan, sngan or r3gan."""
    width: int = 32
    """Channels next to the image; other layers have multiples of it."""
    norm: str = ""
    """Normalisation in the discriminator: none, batch, layer or spectral; empty: the architecture's
    own (dcgan batch, sngan spectral, r3gan none)."""

    @property
    def chosen_norm(self) -> str:
        """The normalisation in the discriminator.

        Raises:
          InputError: an unknown model.
        """
        return self.norm or self._networks()[1].norm

    def validate(self) -> None:
        """Raises InputError for an unknown model or norm, a norm that the model's discriminator
        does not have, or a width below 1."""
        _, discriminator = self._networks()
        require_known("norm", self.chosen_norm, NORMS)
        if self.chosen_norm not in discriminator.norms:
            raise InputError(
                f"norm = {self.norm}; the discriminator of '{self.model}' has none of it: --norm"
                f" {' or '.join(discriminator.norms)}"
            )
        require_at_least(1, self, "width")

    def create(
        self, shape: Shape, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> tuple[nn.Module, nn.Module]:
        """Creates the generator and the discriminator of images of a shape.

        classes: the number of labels that both take; 0: they take none.

        Raises:
          InputError: as `validate`.
        """
        self.validate()
        generator, discriminator = self._networks()
        options = {"shape": shape, "width": self.width, "classes": classes, "dtype": dtype}
        return generator(**options), discriminator(norm=self.chosen_norm, **options)

    def _networks(self) -> tuple[Any, Any]:
        require_known("model", self.model, _GANS)
        return _GANS[self.model]
