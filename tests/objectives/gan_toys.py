"""Small networks and data for tests of the GAN objective."""

from dataclasses import fields

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmodels.data import Resident
from jaxmodels.models.layers import BatchNorm, Dense
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram


class ToyGenerator(nn.Module):
    """Latents to images of `shape`, by one hidden layer."""

    shape: tuple[int, int, int] = (4, 4, 1)
    batch_norm: bool = False
    classes: int = 0

    @nn.compact
    def __call__(self, latents, labels=None, *, train=False):
        x = Dense(32)(latents)
        if self.batch_norm:
            x = BatchNorm(classes=self.classes)(x, labels, train=train)
        x = Dense(int(np.prod(self.shape)))(jnp.tanh(x))
        return x.reshape(-1, *self.shape)


class ToyDiscriminator(nn.Module):
    """Images to logits, by one hidden layer."""

    norm: str = "none"

    @nn.compact
    def __call__(self, images, labels=None, *, train=False):
        x = Dense(32, spectral=self.norm == "spectral")(images.reshape(len(images), -1))
        if self.norm == "batch":
            x = BatchNorm()(x, train=train)
        x = nn.leaky_relu(x, 0.2)
        logits = Dense(1, spectral=self.norm == "spectral")(x)[:, 0]
        return logits if labels is None else logits * (1 + labels)


def images(count=203, shape=(4, 4, 1), seed=0):
    """Images, and labels that say how bright they are."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count).astype(np.int32)
    noise = 0.2 * generator.normal(size=(count, *shape))
    return {"image": (labels[:, None, None, None] / 2 - 0.5 + noise).astype(np.float32),
            "label": labels}  # fmt: skip


def toy_gan(batch_norm=False, norm="none", steps=50, classes=0, accumulate=1, **flags):
    """The objective of the toy networks; flags: of both configs."""
    of_optimizer = {field.name for field in fields(OptimizerConfig)} & set(flags)
    optimizer = {name: flags.pop(name) for name in of_optimizer}
    return GAN(
        ToyGenerator(batch_norm=batch_norm, classes=classes),
        ToyDiscriminator(norm),
        AdversarialConfig(**flags),
        OptimizerConfig(schedule="constant", **optimizer),
        steps=steps,
        latent_size=5,
        classes=classes,
        accumulate=accumulate,
    )


def program(objective, batch=16, length=20, devices=1, seed=3):
    """The compiled steps of a toy on its images."""
    return TrainProgram(
        objective,
        Resident(images()),
        batch,
        length,
        seed,
        make_mesh(f"data={devices}"),
        objective.config.critic_steps,
    )
