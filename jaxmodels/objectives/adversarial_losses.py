"""The losses of the two players of a GAN, as functions of the discriminator's logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " batch"]
PerExample = Callable[[Logits, Logits], Logits]  # (logits of real images, of fakes) -> losses


class AdversarialLoss(NamedTuple):
    """Losses per example, in nats where logits are log-odds of being real.

    Both take the logits of real images and of fakes; a relativistic loss compares them in pairs.
    """

    discriminator: PerExample
    generator: PerExample


def _classify(real: Logits, fake: Logits) -> Logits:
    # -log sigmoid(l) = softplus(-l) and -log(1 - sigmoid(l)) = softplus(l) are finite, with finite
    # gradients, for all l; log(1 - sigmoid(l)) as written is -inf from l = 17 on in float32.
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


LOSSES = {
    # Goodfellow et al. 2014, eq. 1. The generator minimises log(1 - D(G(z))), whose gradient is
    # sigmoid(l): it vanishes (2e-9 at l = -20) just when the discriminator knows the fakes.
    "minimax": AdversarialLoss(_classify, lambda real, fake: -jax.nn.softplus(fake)),
    # The same paper, section 3: the generator maximises log D(G(z)), whose gradient is then 1.
    "non_saturating": AdversarialLoss(_classify, lambda real, fake: jax.nn.softplus(-fake)),
    # Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17.
    "hinge": AdversarialLoss(
        lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake),
        lambda real, fake: -fake,
    ),
    # Mao et al. 2017, eq. 2 with a = 0, b = c = 1.
    "least_squares": AdversarialLoss(
        lambda real, fake: 0.5 * (jnp.square(real - 1) + jnp.square(fake)),
        lambda real, fake: 0.5 * jnp.square(fake - 1),
    ),
    # Arjovsky et al. 2017, eq. 2 and 3. Needs a critic of bounded slope: a gradient penalty.
    "wasserstein": AdversarialLoss(lambda real, fake: fake - real, lambda real, fake: -fake),
    # Jolicoeur-Martineau 2019 in pairs; R3GAN, Huang et al. 2024, eq. 2. Needs R1 and R2.
    "relativistic": AdversarialLoss(
        lambda real, fake: jax.nn.softplus(fake - real),
        lambda real, fake: jax.nn.softplus(real - fake),
    ),
}
