"""Mixup and CutMix against torchvision's with its draws, and the loss of what they give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops import augmentation, softmax_cross_entropy
from jaxmodels.ops.augmentation import cutmix_box
from tests.ops.compiling import quick_jit
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("torchvision")
from torchvision.transforms import v2  # noqa: E402

pytestmark = pytest.mark.parity

mixup, cutmix = quick_jit(augmentation.mixup), quick_jit(augmentation.cutmix)
CLASSES = 5
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.random((7, 9, 13, 3)).astype(np.float32)
LABELS = GENERATOR.integers(0, CLASSES, 7)
TARGETS = np.eye(CLASSES, dtype=np.float32)[LABELS]


def _theirs(transform):
    images, targets = transform(
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)
    )
    return images.permute(0, 2, 3, 1).numpy(), targets.numpy()


@pytest.mark.parametrize("coefficient", [0.0, 0.3, 0.81, 1.0])
def test_mixup_is_torchvisions(coefficient, monkeypatch):
    transform = v2.MixUp(num_classes=CLASSES)
    monkeypatch.setattr(transform, "make_params", lambda _: {"lam": coefficient})
    for found, expected in zip(mixup(IMAGES, TARGETS, coefficient), _theirs(transform)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (2, 5, 4, 7), (0, 3, 9, 1), (0, 0, 9, 13)])
def test_cutmix_is_torchvisions(box, monkeypatch):
    top, left, height, width = box
    params = {
        "box": (left, top, left + width, top + height),
        "lam_adjusted": 1 - height * width / (9 * 13),
    }
    transform = v2.CutMix(num_classes=CLASSES)
    monkeypatch.setattr(transform, "make_params", lambda _: params)
    for found, expected in zip(cutmix(IMAGES, TARGETS, jnp.array(box)), _theirs(transform)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_boxes_are_torchvisions_for_its_coefficients_and_centres(monkeypatch):
    transform = v2.CutMix(num_classes=CLASSES)
    boxes = quick_jit(lambda key, coefficient: cutmix_box(key, coefficient, 9, 13))
    draw_centre = quick_jit(lambda key: jax.random.randint(key, (2,), 0, jnp.array([9, 13])))
    for number in range(60):
        key, coefficient = jax.random.key(number), GENERATOR.random()
        row, column = draw_centre(key)
        centre = iter([column, row])
        monkeypatch.setattr(
            transform, "_dist", type("_", (), {"sample": lambda *_, c=coefficient: c})()
        )
        monkeypatch.setattr(
            torch, "randint", lambda *_, c=centre, **__: torch.tensor([int(next(c))])
        )
        params = transform.make_params([torch.zeros(1, 3, 9, 13)])
        monkeypatch.undo()
        x1, y1, x2, y2 = params["box"]
        np.testing.assert_array_equal(boxes(key, coefficient), [y1, x1, y2 - y1, x2 - x1])
        _, targets = cutmix(IMAGES, TARGETS, boxes(key, coefficient))
        share = params["lam_adjusted"]
        np.testing.assert_allclose(
            targets, share * TARGETS + (1 - share) * np.roll(TARGETS, 1, 0), atol=1e-6
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_probabilities_and_its_gradient_are_torchs(smoothing):
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=(9, 5)) * 3, generator.dirichlet(np.ones(5), 9)
    loss = quick_jit(jax.value_and_grad(lambda *args: softmax_cross_entropy(*args).mean()))
    value, gradient = loss(logits, targets, smoothing)
    x = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        x, torch.tensor(targets), label_smoothing=smoothing
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=1e-14)
