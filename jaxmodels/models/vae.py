"""Variational autoencoder with one layer of latents (Kingma & Welling 2014)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Key

from jaxmodels.errors import require_known
from jaxmodels.models.flows import InverseAutoregressiveFlow
from jaxmodels.models.latent import Labels
from jaxmodels.models.layers import Dense
from jaxmodels.models.options import require_at_least
from jaxmodels.models.vae_networks import (
    ACTIVATIONS,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    Shape,
)
from jaxmodels.ops.latents import Gaussian, Inference, decode_samples, normal_noise
from jaxmodels.ops.likelihoods import gaussian_kl, gaussian_log_likelihood


@dataclass(frozen=True, kw_only=True)
class MLPVAEConfig:
    """Options of the VAE of linear layers."""

    latent_size: int = 16
    """Latents."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the encoder's linear layers; the decoder has them in reverse."""
    activation: str = "relu"
    """Between layers: relu, tanh, elu or gelu."""
    flows: int = 0
    """Inverse autoregressive flows of the posterior."""

    def validate(self) -> None:
        """Raises InputError for numbers that are too small, or an unknown activation."""
        require_at_least(1, self, "latent_size", "hidden")
        require_at_least(0, self, "flows")
        require_known("activation", self.activation, ACTIVATIONS)

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> "VAE":
        """Creates the model of images of a shape; p(x|z) has `parameters` numbers per pixel."""
        self.validate()
        options = (self.hidden, self.activation, classes, dtype)
        encoder, decoder = MLPEncoder(*options), MLPDecoder(shape, parameters, *options)
        return VAE(encoder, decoder, self.latent_size, self.flows, dtype)


@dataclass(frozen=True, kw_only=True)
class ConvVAEConfig:
    """Options of the convolutional VAE."""

    latent_size: int = 16
    """Latents."""
    width: int = 32
    """Channels at half the image's size."""
    blocks: int = 0
    """Residual blocks at a quarter of the image's size, each way."""
    features: int = 256
    """Width of the linear layers next to the latents."""
    activation: str = "elu"
    """Between layers: relu, tanh, elu or gelu."""
    flows: int = 0
    """Inverse autoregressive flows of the posterior."""

    def validate(self) -> None:
        """Raises InputError for numbers that are too small, or an unknown activation."""
        require_at_least(1, self, "latent_size", "width", "features")
        require_at_least(0, self, "blocks", "flows")
        require_known("activation", self.activation, ACTIVATIONS)

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> "VAE":
        """Creates the model of images of a shape; p(x|z) has `parameters` numbers per pixel."""
        self.validate()
        options = (self.features, self.width, self.blocks, self.activation, classes, dtype)
        encoder, decoder = ConvEncoder(*options), ConvDecoder(shape, parameters, *options)
        return VAE(encoder, decoder, self.latent_size, self.flows, dtype)


class VAE(nn.Module):
    """A VAE whose p(z) is the standard normal distribution.

    q(z|x) is normal with independent dimensions, or `flows` inverse autoregressive flows of that.
    The decoder gives p(x|z).

    encoder: (images, labels) -> features; decoder: (latents, labels) -> numbers per pixel.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_size: int
    flows: int
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.moments = Dense(2 * self.latent_size, dtype=self.dtype)
        if self.flows:
            self.context = Dense(self.latent_size, dtype=self.dtype)
        self.steps = [InverseAutoregressiveFlow(dtype=self.dtype) for _ in range(self.flows)]

    def _encode(self, images: Array, labels: Labels) -> tuple[Array, Gaussian]:
        """Gives the encoder's features, and the normal distribution made from them."""
        features = self.encoder(images, labels)
        mean, log_variance = jnp.split(self.moments(features).astype(jnp.float32), 2, axis=-1)
        return features, Gaussian(mean, log_variance / 2)

    def encode(
        self, images: Float[Array, "batch height width channels"], labels: Labels
    ) -> Gaussian:
        """Gives q(z|x), or with flows the normal distribution that they start from."""
        return self._encode(images, labels)[1]

    def decode(
        self, latents: Float[Array, "batch size"], labels: Labels
    ) -> Float[Array, "batch height width parameters"]:
        """Gives the numbers of p(x|z) for each row of latents."""
        return self.decoder(latents, labels)

    def prior(self, keys: Key[Array, " batch"], labels: Labels) -> Float[Array, "batch size"]:
        """Draws from p(z), once per key."""
        return normal_noise(keys, 1, len(keys), (self.latent_size,))[0]

    def infer(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Labels,
        keys: Key[Array, " batch"] | None,
        samples: int = 1,
    ) -> Inference:
        """Draws from q(z|x) and decodes the draws."""
        features, normal = self._encode(images, labels)
        noise = normal_noise(keys, samples, normal.mean.shape[0], (self.latent_size,))
        latents = normal.mean + jnp.exp(normal.log_scale) * noise
        log_posterior = gaussian_log_likelihood(0.0, 0.0, noise) - normal.log_scale
        if self.flows:
            context = nn.elu(self.context(features))
            for step in self.steps:
                latents, log_slope = step(jnp.flip(latents, -1), context)
                log_posterior = jnp.flip(log_posterior, -1) - log_slope
        log_prior = gaussian_log_likelihood(0.0, 0.0, latents)
        kl = jnp.mean(log_posterior - log_prior, axis=0) if self.flows else gaussian_kl(*normal)
        return Inference(
            parameters=decode_samples(self.decode, latents, labels),
            latents=latents,
            log_prior=jnp.sum(log_prior, axis=-1),
            log_posterior=jnp.sum(log_posterior, axis=-1),
            kl=kl,
            posterior=None if self.flows else normal,
        )
