"""Variational autoencoder with one layer of latents (Kingma & Welling 2014)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int, Key

from jaxmodels.models.flows import InverseAutoregressiveFlow
from jaxmodels.models.layers import Dense
from jaxmodels.ops.latents import Gaussian, Inference, normal_noise
from jaxmodels.ops.likelihoods import gaussian_kl, gaussian_log_likelihood

Labels = Int[Array, " batch"] | None


class VAE(nn.Module):
    """q(z|x) normal with independent dimensions, or `flows` inverse autoregressive flows of that;
    p(z) standard normal; p(x|z) by the decoder.

    encoder: (images, labels) -> features; decoder: (latents, labels) -> numbers per pixel.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_size: int
    flows: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.moments = Dense(2 * self.latent_size, dtype=self.dtype)
        if self.flows:
            self.context = Dense(self.latent_size, dtype=self.dtype)
        self.steps = [InverseAutoregressiveFlow(dtype=self.dtype) for _ in range(self.flows)]

    def _encode(self, images, labels):
        features = self.encoder(images, labels)
        mean, log_variance = jnp.split(self.moments(features).astype(jnp.float32), 2, axis=-1)
        return features, Gaussian(mean, log_variance / 2)

    def encode(
        self, images: Float[Array, "batch height width channels"], labels: Labels
    ) -> Gaussian:
        """The normal distribution that q(z|x) is, or starts from."""
        return self._encode(images, labels)[1]

    def decode(
        self, latents: Float[Array, "batch size"], labels: Labels
    ) -> Float[Array, "batch height width parameters"]:
        return self.decoder(latents, labels)

    def prior(self, keys: Key[Array, " batch"], labels: Labels) -> Float[Array, "batch size"]:
        return normal_noise(keys, 1, len(keys), (self.latent_size,))[0]

    def infer(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Labels,
        keys: Key[Array, " batch"] | None,
        samples: int = 1,
    ) -> Inference:
        features, normal = self._encode(images, labels)
        noise = normal_noise(keys, samples, len(normal.mean), (self.latent_size,))
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


def decode_samples(decode, latents: Float[Array, "samples batch size"], labels: Labels):
    """decode of each sample of each image, whose label it has."""
    samples, batch, size = latents.shape
    if labels is not None:
        labels = jnp.tile(labels, samples)
    found = decode(latents.reshape(samples * batch, size), labels)
    return found.reshape(samples, batch, *found.shape[1:])
