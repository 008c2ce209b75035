"""Cross-entropy against torch."""

import jax
import numpy as np
import pytest

from jaxmodels.ops import softmax_cross_entropy
from tests.ops.compiling import quick_jit

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradient_equal_torch(smoothing):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(9, 5)) * 3, generator.integers(0, 5, 9)
    loss = quick_jit(jax.value_and_grad(lambda *args: softmax_cross_entropy(*args).mean()))
    value, gradient = loss(logits, labels, smoothing)
    x = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing)
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=1e-14)
