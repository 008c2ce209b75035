"""Silero's voice activity detector (Silero Team, github.com/snakers4/silero-vad), version 6 for 16
kHz: short-time Fourier transform, four convolutions, an LSTM and a logistic unit.

Its published weights are safetensors with the names of `PUBLISHED`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxmodels.models.layers import Conv
from jaxmodels.pretrained.names import CONVOLUTION_1D, TRANSPOSED, Entry, Published

RATE = 16_000  # samples a second
CHUNK, CONTEXT = 512, 64  # samples that get a probability, and those before them that are seen
_WINDOW, _HOP, _PAD = 256, 128, 64  # of the transform; samples mirrored behind a chunk
_BANDS = _WINDOW // 2 + 1
# Channels and strides of the convolutions along time.
_CONVOLUTIONS = ((128, 1), (64, 2), (64, 2), (128, 1))
_STATE = 128


def _entries() -> tuple[Entry, ...]:
    convolved = {f"conv{number}": f"conv{number}" for number in range(1, len(_CONVOLUTIONS) + 1)}
    kernels = {"stft_conv": "transform", **convolved, "final_conv": "final_conv"}
    biases = {f"{name}.bias": f"{path}/bias" for name, path in kernels.items()}
    del biases["stft_conv.bias"]
    biases |= {"lstm_cell.bias_ih": "input_bias", "lstm_cell.bias_hh": "recurrent_bias"}
    linear = {"lstm_cell.weight_ih": "input", "lstm_cell.weight_hh": "recurrent"}
    return (
        *(
            Entry(f"{name}.weight", (f"params/{path}/kernel",), CONVOLUTION_1D)
            for name, path in kernels.items()
        ),
        *(Entry(name, (f"params/{path}",), TRANSPOSED) for name, path in linear.items()),
        *(Entry(name, (f"params/{path}",)) for name, path in biases.items()),
    )


PUBLISHED = Published(_entries())


class VoiceState(NamedTuple):
    """What is kept of a sound between its parts."""

    context: Float[Array, "batch context"]  # the last samples
    cell: Float[Array, "batch state"]
    out: Float[Array, "batch state"]

    @classmethod
    def start(cls, batch: int) -> "VoiceState":
        """Makes the state before so many sounds."""
        zeros = jnp.zeros((batch, _STATE))
        return cls(jnp.zeros((batch, CONTEXT)), zeros, zeros)


class SileroVAD(nn.Module):
    """Gives the probability of speech in each chunk of 32 milliseconds."""

    @nn.compact
    def __call__(
        self, sound: Float[Array, "batch samples"], state: VoiceState | None = None
    ) -> tuple[Float[Array, "batch chunks"], VoiceState]:
        """Computes the probabilities of all chunks, and the state to go on from.

        sound: of -1..1 at 16 kHz; an incomplete last chunk is filled up with zeros, so that a sound
          that goes on is given in whole ones.
        """
        batch, samples = sound.shape
        state = VoiceState.start(batch) if state is None else state
        whole = jnp.pad(sound, ((0, 0), (0, -samples % CHUNK)))
        chunks = whole.reshape(batch, -1, CHUNK)
        before = jnp.concatenate([state.context[:, None], chunks[:, :-1, -CONTEXT:]], axis=1)
        features = self._encoded(jnp.concatenate([before, chunks], axis=-1))
        states, cell, out = self._remembered(features, state)
        logits = Conv(1, (1,), name="final_conv")(nn.relu(states))
        return nn.sigmoid(logits[..., 0]), VoiceState(whole[:, -CONTEXT:], cell, out)

    def _encoded(
        self, chunks: Float[Array, "batch chunks seen"]
    ) -> Float[Array, "batch chunks width"]:
        """Computes magnitudes of a transform, and convolutions along time to one place."""
        batch, count, _ = chunks.shape
        x = jnp.pad(chunks.reshape(batch * count, -1), ((0, 0), (0, _PAD)), mode="reflect")
        options = {"padding": "VALID", "use_bias": False, "name": "transform"}
        x = Conv(2 * _BANDS, (_WINDOW,), (_HOP,), **options)(x[..., None])
        x = jnp.hypot(x[..., :_BANDS], x[..., _BANDS:])
        for number, (width, stride) in enumerate(_CONVOLUTIONS, 1):
            how = {"padding": [(1, 1)], "name": f"conv{number}"}
            x = nn.relu(Conv(width, (3,), (stride,), **how)(x))
        return x.reshape(batch, count, _STATE)

    def _remembered(
        self, x: Float[Array, "batch chunks width"], state: VoiceState
    ) -> tuple[Float[Array, "batch chunks state"], Array, Array]:
        """Runs torch's LSTM (gates in the order input, forget, cell, output) over the chunks."""
        init, shape = nn.initializers.lecun_normal(), (_STATE, 4 * _STATE)
        kernel, recurrent = (self.param(name, init, shape) for name in ("input", "recurrent"))
        zeros = nn.initializers.zeros
        biases = [self.param(f"{n}_bias", zeros, shape[1:]) for n in ("input", "recurrent")]
        inputs = x @ kernel + biases[0] + biases[1]

        def step(carried, given):
            cell, out = carried
            into, forget, new, shown = jnp.split(given + out @ recurrent, 4, axis=-1)
            cell = nn.sigmoid(forget) * cell + nn.sigmoid(into) * jnp.tanh(new)
            out = nn.sigmoid(shown) * jnp.tanh(cell)
            return (cell, out), out

        (cell, out), states = jax.lax.scan(step, (state.cell, state.out), inputs.swapaxes(0, 1))
        return states.swapaxes(0, 1), cell, out
