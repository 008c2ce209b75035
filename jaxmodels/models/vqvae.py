"""VAE with discrete latents from a codebook (van den Oord et al. 2017)."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int, Key

from jaxmodels import across
from jaxmodels.errors import require_known
from jaxmodels.models.code_prior import CodePrior
from jaxmodels.models.latent import Labels, one_hot_planes
from jaxmodels.models.layers import Conv
from jaxmodels.models.options import require_at_least
from jaxmodels.models.vae_networks import (
    ACTIVATIONS,
    ConvHead,
    ConvTrunk,
    Shape,
    quartered_sizes,
)
from jaxmodels.ops.latents import Inference


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """Options of the VAE with a codebook."""

    codes: int = 128
    """Size of the codebook."""
    code_size: int = 32
    """Numbers in the vector of a code."""
    width: int = 32
    """Channels at half the image's size."""
    blocks: int = 0
    """Residual blocks at a quarter of the image's size, each way."""
    activation: str = "relu"
    """Between layers: relu, tanh, elu or gelu."""

    def validate(self) -> None:
        """Raises InputError for numbers that are too small, or an unknown activation."""
        require_at_least(1, self, "codes", "code_size", "width")
        require_at_least(0, self, "blocks")
        require_known("activation", self.activation, ACTIVATIONS)

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> "VQVAE":
        """Creates the model of images of a shape; p(x|z) has `parameters` numbers per pixel."""
        self.validate()
        options = (self.codes, self.code_size, self.width, self.blocks, self.activation)
        return VQVAE(shape, parameters, *options, classes, dtype)


class Quantizer(nn.Module):
    """A codebook. Each vector chooses its nearest code, and codes follow their vectors.

    If the collection "codebook" is mutable, a code is the average over steps, with `decay`, of the
    vectors that chose it (appendix A.1); Laplace's rule smooths the counts. A code whose average
    count falls below `least` moves to a random vector of the batch (by the rng "restart"), which
    keeps the whole codebook in use (Dhariwal et al. 2020, section 3.1).
    """

    codes: int
    size: int
    decay: float = 0.99
    least: float = 0.01
    epsilon: float = 1e-5

    def setup(self):
        def uniform():
            key = self.make_rng("params")
            return jax.random.uniform(key, (self.codes, self.size), minval=-1.0) / self.codes

        self.embeddings = self.variable("codebook", "embeddings", uniform)
        self.sums = self.variable("codebook", "sums", lambda: self.embeddings.value + 0)
        self.counts = self.variable("codebook", "counts", jnp.ones, (self.codes,))

    def __call__(
        self, vectors: Float[Array, "*batch size"]
    ) -> tuple[Float[Array, "*batch size"], Int[Array, "*batch"]]:
        """Gives the embeddings of the nearest codes, and their indices. Gradients pass through the
        embeddings unchanged to the vectors."""
        flat = vectors.reshape(-1, self.size)
        embeddings = self.embeddings.value
        distances = jnp.sum(jnp.square(embeddings), -1) - 2 * jnp.matmul(
            flat, embeddings.T, precision="highest"
        )
        chosen = jnp.argmin(distances, axis=-1)
        if self.is_mutable_collection("codebook") and not self.is_initializing():
            self._follow(jax.lax.stop_gradient(flat), chosen)
        nearest = embeddings[chosen].reshape(vectors.shape)
        return (
            vectors + jax.lax.stop_gradient(nearest - vectors),
            chosen.reshape(vectors.shape[:-1]),
        )

    def lookup(self, codes: Int[Array, "*batch"]) -> Float[Array, "*batch size"]:
        """Gives the embeddings of codes."""
        return self.embeddings.value[codes]

    def _follow(self, vectors: Array, chosen: Array) -> None:
        """Moves the codes to the averages of the vectors that chose them."""
        member = jax.nn.one_hot(chosen, self.codes)
        # These are means over vectors, so that averages over devices are those of the global batch.
        count, total = across.average((jnp.mean(member, axis=0), member.T @ vectors / len(vectors)))
        keep = self.decay
        counts = keep * self.counts.value + (1 - keep) * count * self.codes
        sums = keep * self.sums.value + (1 - keep) * total * self.codes
        # Counts and smoothed counts add up to `codes`, so that 1 is an even share.
        smooth = (counts + self.epsilon) / (1 + self.epsilon)
        dead = counts < self.least
        everywhere = across.global_count(len(vectors))
        rows = jax.random.randint(self.make_rng("restart"), (self.codes,), 0, everywhere)
        fresh = across.take(vectors, rows)
        self.counts.value = jnp.where(dead, 1.0, counts)
        self.sums.value = jnp.where(dead[:, None], fresh, sums)
        self.embeddings.value = jnp.where(dead[:, None], fresh, sums / smooth[:, None])


class VQVAE(nn.Module):
    """A VAE whose latents are codes on a grid of a quarter of the image's size.

    A transformer models the codes; its loss does not change them. q(z|x) is the nearest code with
    probability 1, so that log p(x|z) + log p(z) is a lower bound of log p(x), and the KL is
    -log p(z).
    """

    shape: Shape
    parameters: int
    codes: int
    code_size: int
    width: int
    blocks: int
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.grid = quartered_sizes(self.shape)[-1]
        common = (self.width, self.blocks, self.activation)
        self.encoder = ConvTrunk(*common, self.classes, self.dtype)
        self.before = Conv(self.code_size, (1, 1), dtype=self.dtype)
        self.quantizer = Quantizer(self.codes, self.code_size)
        self.after = Conv(2 * self.width, (3, 3), dtype=self.dtype)
        self.decoder = ConvHead(self.shape, self.parameters, *common, self.dtype)
        self.code_prior = CodePrior(
            self.codes, math.prod(self.grid), classes=self.classes, dtype=self.dtype
        )

    def _decode(self, embedded: Array, labels: Labels) -> Array:
        return self.decoder(self.after(one_hot_planes(embedded, labels, self.classes)))

    def decode(
        self, latents: Int[Array, "batch positions"], labels: Labels
    ) -> Float[Array, "batch height width parameters"]:
        """Gives the numbers of p(x|z) for each row of codes."""
        return self._decode(self.quantizer.lookup(latents.reshape(-1, *self.grid)), labels)

    def prior(self, keys: Key[Array, " batch"], labels: Labels) -> Int[Array, "batch positions"]:
        """Draws codes from p(z), once per key."""
        return self.code_prior.sample(keys, labels)

    def infer(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Labels,
        keys: Key[Array, " batch"] | None,
        samples: int = 1,
    ) -> Inference:
        """Chooses the codes of images and decodes them; all samples are alike."""
        vectors = self.before(self.encoder(images, labels)).astype(jnp.float32)
        embedded, codes = self.quantizer(vectors)
        parameters = self._decode(embedded, labels)
        codes = codes.reshape(codes.shape[0], -1)
        log_probabilities = jax.nn.log_softmax(self.code_prior(codes, labels))
        log_chosen = jnp.take_along_axis(log_probabilities, codes[..., None], -1)
        log_prior = jnp.sum(log_chosen, axis=(1, 2))
        distance = jnp.square(vectors - jax.lax.stop_gradient(embedded))

        def alike(x):
            return jnp.broadcast_to(x, (samples, *x.shape))

        return Inference(
            parameters=alike(parameters),
            latents=alike(codes),
            log_prior=alike(log_prior),
            log_posterior=jnp.zeros((samples, images.shape[0])),
            kl=-log_prior[:, None],
            commitment=jnp.sum(distance, axis=(1, 2, 3)),
            codes=codes,
        )
