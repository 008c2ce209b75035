"""The CTC loss beside torch's and optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.ops.ctc import ctc_loss
from tests.ops.test_ctc import case

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def test_values_and_gradients_are_those_of_torch_and_optax():
    logits, frames, texts, lengths = case(5, 30, 12, 8, seed=3)
    weights = np.arange(1, 6, dtype=np.float32)
    values = np.asarray(ctc_loss(logits, frames, texts, lengths))
    ours = jax.grad(lambda x: jnp.sum(weights * ctc_loss(x, frames, texts, lengths)))(logits)
    given = torch.tensor(np.asarray(logits), dtype=torch.float64, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(
        given.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.asarray(texts)),
        torch.tensor(np.asarray(frames)),
        torch.tensor(np.asarray(lengths)),
        reduction="none",
    )
    (theirs * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(ours, given.grad.numpy(), atol=1e-5)
    pads = [
        (jnp.arange(size) >= count[:, None]).astype(jnp.float32)
        for size, count in ((30, frames), (8, lengths))
    ]

    def optax_total(x):
        return jnp.sum(weights * optax.ctc_loss(x, pads[0], texts, pads[1]))

    np.testing.assert_allclose(ours, jax.grad(optax_total)(logits), atol=1e-4)
    np.testing.assert_allclose(values, optax.ctc_loss(logits, pads[0], texts, pads[1]), rtol=1e-5)


def test_gradients_of_long_texts_are_as_fine_as_float32_allows():
    """Sums over alignments of long texts are in hundreds of nats, where float32 is coarse."""
    logits, frames, texts, lengths = case(3, 250, 30, 60, seed=4)
    ours = jax.grad(lambda x: jnp.sum(ctc_loss(x, frames, texts, lengths)))(logits)
    given = torch.tensor(np.asarray(logits), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.ctc_loss(
        given.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.asarray(texts)),
        torch.tensor(np.asarray(frames)),
        torch.tensor(np.asarray(lengths)),
        reduction="sum",
    ).backward()
    np.testing.assert_allclose(ours, given.grad.numpy(), atol=5e-5)
