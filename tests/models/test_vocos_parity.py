"""The vocoder and its discriminators against the same networks in torch, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.sound_discriminators import SoundDiscriminators
from jaxmodels.models.vocos import Vocos
from jaxmodels.ops.spectral import Transform

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

pytestmark = pytest.mark.parity
TRANSFORM = Transform(32, 8)


def shaken(params):
    """Parameters of some size, since the initial ones are small or zero."""
    leaves, tree = jax.tree.flatten(params)
    draw = np.random.default_rng(0)
    leaves = [leaf + draw.normal(0, 0.2, leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, leaves)


def in_torch(params):
    return jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params)


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def norm(params, x):
    return functional.layer_norm(x, x.shape[-1:], params["scale"], params["bias"], 1e-6)


def along_frames(params, x, groups=1):
    kernel = params["kernel"].permute(2, 1, 0)
    y = functional.conv1d(x.mT, kernel, params["bias"], padding=3, groups=groups)
    return y.mT


def vocos(params, x, samples):
    x = norm(params["entry_norm"], along_frames(params["entry"], x))
    for number in range(2):
        own = params[f"block_{number}"]
        y = norm(own["LayerNorm_0"], along_frames(own["Conv_0"], x, x.shape[-1]))
        y = functional.gelu(dense(own["linear1"], y), approximate="tanh")
        x = x + own["scale"] * dense(own["linear2"], y)
    logarithm, phase = dense(params["exit"], norm(params["norm"], x)).chunk(2, -1)
    spectrum = torch.polar(logarithm.exp().clip(max=100), phase).mT
    window = torch.hann_window(TRANSFORM.window)
    return torch.istft(spectrum, TRANSFORM.samples, TRANSFORM.hop, window=window, length=samples)


def test_the_vocoder_is_that_in_torch():
    features = np.random.default_rng(1).normal(size=(2, 9, 5)).astype(np.float32)
    network = Vocos(TRANSFORM, width=6, depth=2)
    params = shaken(network.init(jax.random.key(0), jnp.asarray(features), 64)["params"])

    def total(features):
        sound = network.apply({"params": params}, features, 64)
        return jnp.sum(jnp.square(sound)), sound

    (_, sound), gradient = jax.value_and_grad(total, has_aux=True)(jnp.asarray(features))
    theirs = torch.tensor(features, requires_grad=True)
    expected = vocos(in_torch(params), theirs, 64)
    expected.square().sum().backward()
    np.testing.assert_allclose(sound, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-3, atol=1e-4)


def same(x, sizes, strides):
    """Pads as "SAME" does, last axis last."""
    edges = []
    for side, size, stride in zip(x.shape[2:], sizes, strides):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        edges = [total // 2, total - total // 2, *edges]
    return functional.pad(x, edges)


def convolution(params, x, strides):
    kernel = params["kernel"].permute(-1, -2, *range(params["kernel"].ndim - 2))
    run = functional.conv1d if kernel.ndim == 3 else functional.conv2d
    return run(same(x, kernel.shape[2:], strides), kernel, params["bias"], strides)


def test_the_discriminators_are_those_in_torch():
    sound = np.random.default_rng(2).normal(size=(2, 70)).astype(np.float32)
    network = SoundDiscriminators((3,), (TRANSFORM,), (4, 5), 3)
    params = shaken(network.init(jax.random.key(0), jnp.asarray(sound))["params"])
    judged = network.apply({"params": params}, jnp.asarray(sound))
    theirs, given = in_torch(params), torch.tensor(sound)

    rows = functional.pad(given[:, None], (0, 2), "reflect").reshape(2, 24, 3).mT.reshape(6, 1, 24)
    seen = []
    for name, stride in (("conv_1", 3), ("conv_2", 1)):
        rows = functional.leaky_relu(convolution(theirs["period_3"][name], rows, (stride,)), 0.1)
        seen.append(rows.reshape(2, 3, *rows.shape[1:]).mT)
    logits = convolution(theirs["period_3"]["exit"], rows, (1,)).reshape(2, -1)

    spectrum = torch.stft(given, 32, 8, window=torch.hann_window(32), return_complex=True)
    x, seen2 = spectrum.abs().mT[:, None], []
    for name in ("conv_1", "conv_2", "conv_3", "conv_4"):
        stride = 1 if name == "conv_4" else 2
        x = functional.leaky_relu(convolution(theirs["spectrum_32"][name], x, (1, stride)), 0.1)
        seen2.append(x.permute(0, 2, 3, 1))
    logits2 = convolution(theirs["spectrum_32"]["exit"], x, (1, 1)).reshape(2, -1)

    for (found, features), expected, others in zip(
        judged, (logits, logits2), (seen, seen2), strict=True
    ):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
        for feature, other in zip(features, others, strict=True):
            np.testing.assert_allclose(feature, other.numpy(), rtol=1e-4, atol=1e-4)
