"""The training step of the VAE example of Flax (google/flax, examples/vae), written anew.

As there, mean and log-variance have a linear layer each, one key draws the noise of a batch, the
cross-entropy uses log_sigmoid and expm1, and a TrainState holds optax's Adam. The host sends
batches of float32.
"""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

if TYPE_CHECKING:
    from experiments.benchmarks.vae_peers import Task


class _Encoder(nn.Module):
    model: str
    options: Any

    @nn.compact
    def __call__(self, x):
        options = self.options
        if self.model == "conv":
            for channels in (options.width, 2 * options.width):
                x = nn.elu(nn.Conv(channels, (4, 4), strides=2)(x))
            x = nn.elu(nn.Dense(options.features)(x.reshape(len(x), -1)))
        else:
            for units in options.hidden:
                x = nn.relu(nn.Dense(units)(x))
        return nn.Dense(options.latent_size)(x), nn.Dense(options.latent_size)(x)


class _Decoder(nn.Module):
    model: str
    options: Any

    @nn.compact
    def __call__(self, z):
        options = self.options
        if self.model == "conv":
            z = nn.elu(nn.Dense(options.features)(z))
            z = nn.Dense(7 * 7 * 2 * options.width)(z).reshape(-1, 7, 7, 2 * options.width)
            for channels in (options.width, 1):
                z = nn.ConvTranspose(channels, (4, 4), strides=(2, 2))(nn.elu(z))
            return z
        for units in reversed(options.hidden):
            z = nn.relu(nn.Dense(units)(z))
        return nn.Dense(784)(z)


class _VAE(nn.Module):
    model: str
    options: Any

    @nn.compact
    def __call__(self, x, key):
        mean, log_variance = _Encoder(self.model, self.options)(x)
        noise = jax.random.normal(key, log_variance.shape)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        return _Decoder(self.model, self.options)(z), mean, log_variance


@jax.vmap
def _cross_entropy(logits, x):
    log_p = nn.log_sigmoid(logits)
    return -jnp.sum(x * log_p + (1 - x) * jnp.log(-jnp.expm1(log_p)))


@jax.vmap
def _kl(mean, log_variance):
    return -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))


def _train_step(network: _VAE, state, x, key):
    def loss(params):
        logits, mean, log_variance = network.apply({"params": params}, x, key)
        return jnp.mean(_cross_entropy(logits, x)) + jnp.mean(_kl(mean, log_variance))

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def flax_block(task: "Task", jitted: bool) -> Callable[[int], None]:
    """Makes block(steps), which calls the step, jitted or not."""
    network, images = _VAE(task.config.model.model, task.options), task.rows()
    if task.convolutional:
        images = images.reshape(-1, 28, 28, 1)
    batch = task.config.run.batch_size
    step = functools.partial(_train_step, network)
    step = jax.jit(step) if jitted else step
    root = jax.random.key(0)
    state = train_state.TrainState.create(
        apply_fn=None,
        params=network.init(root, images[:batch], root)["params"],
        tx=optax.adam(task.config.optimizer.learning_rate),
    )
    generator = np.random.default_rng(0)

    def batches() -> Iterator[np.ndarray]:
        while True:
            order = generator.permutation(len(images))
            for at in range(0, len(images) - batch + 1, batch):
                yield images[order[at : at + batch]]

    stream = batches()

    def block(steps: int) -> None:
        nonlocal root, state
        for _ in range(steps):
            root, key = jax.random.split(root)
            state = step(state, next(stream), key)
        jax.block_until_ready(state)

    return block
