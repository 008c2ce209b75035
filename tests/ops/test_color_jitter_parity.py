"""ColorJitter against torchvision's on 8-bit images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxmodels.ops.augmentation import Strengths, color_jitter, tones
from jaxmodels.ops.augmentation.color_jitter import jitter
from tests.ops.compiling import quick_jit
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("torchvision")
from torchvision.transforms.v2 import functional  # noqa: E402

pytestmark = pytest.mark.parity

ADJUST = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def _images(channels):
    generator = np.random.default_rng(channels)
    images = generator.integers(0, 256, (5, 19, 23, channels)).astype(np.uint8)
    images[1] = images[1] // 8 + 90
    images[2] = 37
    images[3] = images[3, ..., :1]  # grey
    images[4] = images[4] // 128 * 255  # corners of the cube of colours
    return images


def _theirs(images, properties, amounts):
    changed = torch.from_numpy(images).permute(0, 3, 1, 2)
    for number, amount in zip(properties, amounts, strict=True):
        changed = ADJUST[number](changed, float(amount))
    return changed.permute(0, 2, 3, 1).numpy()


@quick_jit
def _ours(images, properties, amounts):
    shape = len(images), len(properties)
    levels = jitter(
        tones.to_levels(images),
        jnp.broadcast_to(properties, shape),
        jnp.broadcast_to(amounts, shape),
    )
    return tones.from_levels(levels, jnp.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("number", "amounts"),
    [(0, (0.0, 0.6, 1.4)), (1, (0.0, 0.6, 1.4)), (2, (0.0, 0.6, 1.4)), (3, (-0.5, -0.13, 0.27))],
)
def test_each_property_is_torchvisions(channels, number, amounts):
    images = _images(channels)
    for amount in amounts:
        found = _ours(images, jnp.array([number]), jnp.array([amount]))
        off = np.abs(np.asarray(found, int) - _theirs(images, [number], [amount]))
        # Where a level is nearly whole before it is rounded down, one less is possible.
        assert off.max() <= 1 and (off > 0).mean() < 0.05


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_order_is_heeded(order):
    images, amounts = _images(3), np.array([0.7, 1.3, 1.5, 0.2])[list(order)]
    found = np.asarray(_ours(images, jnp.array(order), jnp.array(amounts)), int)
    off = np.abs(found - _theirs(images, order, amounts))
    assert off.max() <= 4 and off.mean() < 0.1


def test_draws_are_those_of_an_example_alone_and_span_torchvisions_ranges():
    images = jnp.full((400, 2, 2, 3), 100, jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 400)
    change = quick_jit(lambda images, keys: color_jitter(images, keys, Strengths(0.4)))
    found = np.asarray(change(images, keys))
    np.testing.assert_array_equal(found[:7], change(images[:7], keys[:7]))
    factors = found[:, 0, 0, 0] / 100
    assert factors.min() == pytest.approx(0.6, abs=0.02)
    assert factors.max() == pytest.approx(1.4, abs=0.02)
    assert factors.mean() == pytest.approx(1.0, abs=0.05)
    # Strengths above 1 reach black, and no further.
    dark = np.asarray(color_jitter(images, keys, Strengths(3.0)))
    assert dark.min() <= 2 and dark.max() == 255
    # Grey images have neither saturation nor hue.
    grey = images[..., :1]
    np.testing.assert_array_equal(color_jitter(grey, keys, Strengths(0, 0, 0.5, 0.5)), grey)


def test_every_order_is_drawn():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    images = jnp.broadcast_to(jnp.asarray(image), (64, 4, 4, 3))
    keys = jax.random.split(jax.random.key(1), 64)
    found = color_jitter(images, keys, Strengths(0.4, 0.4, 0.4, 0.1))
    assert found.dtype == jnp.uint8 and len(np.unique(np.asarray(found), axis=0)) == 64


@pytest.mark.parametrize(
    ("number", "enhance"),
    list(enumerate((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color))),
)
def test_transparency_stays_as_pillow_leaves_it(number, enhance):
    images = _images(4)
    keys = jax.random.split(jax.random.key(number), len(images))
    strengths = Strengths()._replace(**{Strengths._fields[number]: 0.5})
    found = np.asarray(color_jitter(jnp.asarray(images), keys, strengths), int)
    for image, key, ours in zip(images, keys, found, strict=True):
        amount = 0.5 + float(jax.random.uniform(jax.random.split(key)[1], (1,))[0])
        theirs = np.asarray(enhance(Image.fromarray(image, "RGBA")).enhance(amount), int)
        np.testing.assert_array_equal(ours[..., 3], theirs[..., 3])
        assert np.abs(ours - theirs).max() <= 1  # torchvision rounds otherwise
