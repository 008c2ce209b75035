"""Hierarchical VAE with a top-down ladder of latents, in the manner of VDVAE (Child 2021)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Key

from jaxmodels.errors import InputError
from jaxmodels.models.latent import Labels, one_hot_planes
from jaxmodels.models.layers import Conv, ConvTranspose, Dense, doubling_padding, halved
from jaxmodels.models.options import require_at_least
from jaxmodels.models.vae_networks import Shape, quartered_sizes
from jaxmodels.ops.latents import Gaussian, Inference, normal_noise
from jaxmodels.ops.likelihoods import gaussian_kl, gaussian_log_likelihood

_WIDEST_LOG_RATIO = 5.0
Grid = Float[Array, "batch height width channels"]


@dataclass(frozen=True, kw_only=True)
class LadderVAEConfig:
    """Options of the hierarchical VAE."""

    latent_size: int = 16
    """Latents per position and group."""
    width: int = 32
    """Channels, the same everywhere."""
    depth: tuple[int, ...] = (1, 2, 3)
    """Groups of latents at one pixel, an eighth, a quarter (and a half) of the image's size."""

    def validate(self) -> None:
        """Raises InputError for numbers that are too small, or a depth without groups."""
        require_at_least(1, self, "latent_size", "width")
        if not 1 <= len(self.depth) <= 4 or min(self.depth) < 0 or not sum(self.depth):
            raise InputError(
                f"depth = {self.depth}; expected 1 to 4 numbers of groups, not all of them 0"
            )

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> "LadderVAE":
        """Creates the model of images of a shape; p(x|z) has `parameters` numbers per pixel."""
        self.validate()
        options = (self.latent_size, self.width, self.depth, classes, dtype)
        return LadderVAE(shape, parameters, *options)


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 3x3 and 1x1 through half the width; at one pixel all are 1x1.

    scale: scales the variance of the last initial kernel, which keeps deep stacks stable (section
      3.2 of the paper); 0: the kernel starts at zero.
    """

    width: int
    outputs: int
    scale: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch height width outputs"]:
        size = (1, 1) if x.shape[1] == x.shape[2] == 1 else (3, 3)
        middle = max(self.width // 2, 1)
        for kernel in ((1, 1), size, size):
            x = Conv(middle, kernel, dtype=self.dtype)(nn.gelu(x))
        init = (
            nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
            if self.scale
            else nn.initializers.zeros
        )
        return Conv(self.outputs, (1, 1), kernel_init=init, dtype=self.dtype)(nn.gelu(x))


class Group(nn.Module):
    """One group of latents: its prior and posterior given the state of the way down.

    The posterior is given relative to the prior, with a bounded ratio of scales (Vahdat & Kautz
    2020, section 3.2): the KL starts near zero and no step can make it explode, so that no update
    has to be skipped.

    size: latents per position.
    """

    width: int
    size: int
    scale: float
    dtype: DTypeLike

    def setup(self):
        options = {"width": self.width, "dtype": self.dtype}
        self.prior_net = Bottleneck(outputs=2 * self.size + self.width, scale=0.0, **options)
        self.posterior_net = Bottleneck(outputs=2 * self.size, scale=0.0, **options)
        init = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        self.project = Conv(self.width, (1, 1), kernel_init=init, dtype=self.dtype)
        self.after = Bottleneck(outputs=self.width, scale=self.scale, **options)

    def prior(self, state: Grid) -> tuple[Gaussian, Grid]:
        """Gives p(z | latents above), and the state plus an output of the prior's network."""
        outputs = self.prior_net(state)
        mean, raw, added = jnp.split(outputs, [self.size, 2 * self.size], axis=-1)
        wide = mean.astype(jnp.float32), _bounded(raw.astype(jnp.float32))
        return Gaussian(*wide), state + added

    def posterior(self, state: Grid, seen: Grid, prior: Gaussian) -> Gaussian:
        """Gives q(z | latents above, x)."""
        outputs = self.posterior_net(jnp.concatenate([state, seen], axis=-1)).astype(jnp.float32)
        shift, ratio = jnp.split(outputs, 2, axis=-1)
        return Gaussian(
            prior.mean + jnp.exp(prior.log_scale) * shift, prior.log_scale + _bounded(ratio)
        )

    def descend(self, state: Grid, latents: Array) -> Grid:
        """Gives the state that the groups below see."""
        state = state + self.project(latents.astype(self.dtype))
        return state + self.after(state)


def _bounded(x: Array) -> Array:
    return _WIDEST_LOG_RATIO * jnp.tanh(x / _WIDEST_LOG_RATIO)


class LadderVAE(nn.Module):
    """A VAE with groups of latents at one pixel, an eighth, a quarter and half of the image's size.

    The way up is convolutional; the way down starts from a learned vector at one pixel.

    depth: groups at each size, from one pixel up; sizes without a number have none.
    """

    shape: Shape
    parameters: int
    latent_size: int
    width: int
    depth: tuple[int, ...]
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        image, half, quarter = quartered_sizes(self.shape)
        self.eighth = halved(quarter)
        scale = 1 / sum(self.depth)
        options = {"dtype": self.dtype}
        double = partial(ConvTranspose, kernel_size=(4, 4), strides=2, **options)
        self.stem = Conv(self.width, (4, 4), strides=2, **options)
        self.up = [
            [Bottleneck(self.width, self.width, scale, self.dtype) for _ in range(2)]
            for _ in range(3)
        ]
        self.shrink = [Conv(self.width, (3, 3), strides=2, **options) for _ in range(2)]
        self.flatten = Dense(self.width, **options)
        self.root = self.param("root", nn.initializers.zeros, (self.width,))
        self.groups = [
            [Group(self.width, self.latent_size, scale, self.dtype) for _ in range(count)]
            for count in (*self.depth, 0, 0, 0)[:4]
        ]
        self.spread = [
            Dense(self.width * math.prod(self.eighth), **options),
            *[double(self.width, padding=doubling_padding(size)) for size in (quarter, half)],
        ]
        self.last = double(self.parameters, padding=doubling_padding(image))
        if self.classes:
            self.label = Dense(self.width, use_bias=False, **options)

    def _up(self, images: Array, labels: Labels) -> list[Array]:
        """Gives the image's features at each level, from one pixel up."""
        x = self.stem(one_hot_planes(images, labels, self.classes))
        seen = []
        for level in range(3):
            for block in self.up[level]:
                x = x + block(x)
            seen.append(x)
            if level < 2:
                x = self.shrink[level](nn.gelu(x))
        flat = self.flatten(nn.gelu(x).reshape(x.shape[0], -1))
        return [flat[:, None, None], *reversed(seen)]

    def _grow(self, state: Array, level: int) -> Array:
        """Enlarges the state from the size of the level before to the size of `level`."""
        if level == 1:
            grown = self.spread[0](nn.gelu(state).reshape(state.shape[0], -1))
            return grown.reshape(-1, *self.eighth, self.width)
        return self.spread[level - 1](nn.gelu(state))

    def _down(self, count: int, labels: Labels, choose: Callable) -> tuple[list[Array], Array]:
        """Gives the latents of all groups, each by `choose(group, index, level, state, prior)`, and
        the decoder's output."""
        state = jnp.broadcast_to(self.root, (count, 1, 1, self.width)).astype(self.dtype)
        if self.classes:
            state = state + self.label(jax.nn.one_hot(labels, self.classes))[:, None, None]
        chosen, index = [], 0
        for level, groups in enumerate(self.groups):
            if level:
                state = self._grow(state, level)
            for group in groups:
                before, (prior, state) = state, group.prior(state)
                chosen.append(choose(group, index, level, before, prior))
                state = group.descend(state, chosen[-1])
                index += 1
        return chosen, self.last(nn.gelu(state)).astype(jnp.float32)

    def decode(
        self, latents: list[Float[Array, "batch _ _ size"]], labels: Labels
    ) -> Float[Array, "batch height width parameters"]:
        """Gives the numbers of p(x|z) for each row of latents."""
        return self._down(latents[0].shape[0], labels, lambda group, index, *_: latents[index])[1]

    def prior(
        self, keys: Key[Array, " batch"], labels: Labels
    ) -> list[Float[Array, "batch _ _ size"]]:
        """Draws from p(z), once per key."""

        def choose(group, index, level, state, prior):
            each = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
            noise = normal_noise(each, 1, len(keys), prior.mean.shape[1:])[0]
            return prior.mean + jnp.exp(prior.log_scale) * noise

        return self._down(keys.shape[0], labels, choose)[0]

    def infer(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Labels,
        keys: Key[Array, " batch"] | None,
        samples: int = 1,
    ) -> Inference:
        """Draws from q(z|x), from the top down, and decodes the draws."""
        batch = images.shape[0]

        def repeat(x):
            return jnp.broadcast_to(x, (samples, *x.shape)).reshape(-1, *x.shape[1:])

        seen = jax.tree.map(repeat, self._up(images, labels))
        labels = None if labels is None else repeat(labels)
        priors, posteriors = [], []

        def choose(group, index, level, state, prior):
            posterior = group.posterior(state, seen[level], prior)
            each = keys if keys is None else jax.vmap(lambda k: jax.random.fold_in(k, index))(keys)
            noise = normal_noise(each, samples, batch, prior.mean.shape[1:])
            priors.append(prior)
            posteriors.append(posterior)
            return posterior.mean + jnp.exp(posterior.log_scale) * noise.reshape(prior.mean.shape)

        latents, parameters = self._down(samples * batch, labels, choose)

        def apart(x):
            return x.reshape(samples, batch, *x.shape[1:])

        def summed(x):
            return apart(jnp.sum(x, axis=(1, 2, 3)))

        kl = [gaussian_kl(*q, *p) for q, p in zip(posteriors, priors)]
        log_prior = [gaussian_log_likelihood(*p, z) for p, z in zip(priors, latents)]
        log_posterior = [gaussian_log_likelihood(*q, z) for q, z in zip(posteriors, latents)]
        return Inference(
            parameters=apart(parameters),
            latents=[apart(z) for z in latents],
            log_prior=sum(map(summed, log_prior)),
            log_posterior=sum(map(summed, log_posterior)),
            kl=jnp.stack([jnp.mean(summed(each), axis=0) for each in kl], axis=-1),
        )
