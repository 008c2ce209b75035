"""Each operation of RandAugment against torchvision's on 8-bit images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops.augmentation import OPERATIONS, rand_augment, tones
from jaxmodels.ops.augmentation.rand_augment import apply_operations
from jaxmodels.ops.augmentation.warps import warp
from tests.ops.compiling import quick_jit
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("torchvision")
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402

pytestmark = pytest.mark.parity

NAMES = {  # ours to torchvision's
    name: "".join(part.capitalize() for part in name.split("_")) for name in OPERATIONS
} | {"autocontrast": "AutoContrast"}

TRUNCATED = ("brightness", "color", "contrast", "sharpness", "autocontrast")


def _images(channels, count=6, height=26, width=31):
    """Smooth pictures with noise, some of little contrast, one constant, one of few levels."""
    generator = np.random.default_rng(channels)
    waves = np.sin(np.linspace(0, 6, height))[:, None, None] + np.cos(
        np.linspace(0, 9, width)[:, None] + np.arange(channels)
    )
    images = 128 + 50 * waves + generator.normal(0, 25, (count, height, width, channels))
    images[1] = 90 + images[1] / 8
    images[2] = 37
    images[3] = images[3] // 64 * 64
    return np.clip(images, 0, 255).astype(np.uint8)


def _torch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _theirs(images, name, magnitude):
    changed = v2.RandAugment()._apply_image_or_video_transform(
        _torch(images), NAMES[name], magnitude, interpolation="nearest", fill={}
    )
    return changed.permute(0, 2, 3, 1).numpy()


@quick_jit
def _apply(images, number, strength, sign):
    operations, signs = jnp.full(len(images), number), jnp.full(len(images), sign, jnp.float32)
    levels = apply_operations(tones.to_levels(images), operations, strength, signs)
    return tones.from_levels(levels, jnp.uint8)


def _ours(images, name, bin_number, sign):
    return np.asarray(_apply(images, OPERATIONS.index(name), bin_number / 30, sign))


def _magnitude(images, name, bin_number, sign):
    values, signed = v2.RandAugment._AUGMENTATION_SPACE[NAMES[name]]
    values = values(31, *images.shape[1:3])
    if values is None:
        return 0.0
    return float(values[bin_number]) * (sign if signed else 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions(name, channels):
    """Exactly, but for what is truncated to whole levels: where it is whole already the last bit
    of torchvision's floats decides, and it may be one level off (in the constant picture 37 times
    1.9 minus 37 times 0.9 is 36, say)."""
    images = _images(channels)
    for bin_number, sign in ((0, 1), (9, 1), (9, -1), (17, -1), (30, 1), (30, -1)):
        expected = _theirs(images, name, _magnitude(images, name, bin_number, sign)).astype(int)
        found = _ours(images, name, bin_number, sign)
        assert found.dtype == np.uint8
        different = found != expected
        if name in ("rotate", "shear_x", "shear_y"):
            different &= ~_is_tied(name, bin_number / 30 * sign, *images.shape[1:3])[..., None]
        if name in TRUNCATED:
            assert np.abs(found - expected).max() <= 1, (bin_number, sign)
            assert _share(different) < 0.04, (bin_number, sign)
        else:
            assert not different.any(), (bin_number, sign)


def _share(different):
    """Of pixels, without the pictures of which whole levels are the rule: the constant one, and
    those whose contrast is raised by a factor as 255 / 192."""
    return different[[0, 4, 5]].mean()


def _is_tied(name, amount, height, width):
    """Pixels whose source is half-way between two, to float precision: either may be taken."""
    y, x = np.mgrid[:height, :width].astype(float)
    if name == "rotate":
        angle = np.deg2rad(30 * amount)
        u, v = x - (width - 1) / 2, y - (height - 1) / 2
        sources = (
            np.cos(angle) * u - np.sin(angle) * v + (width - 1) / 2,
            np.cos(angle) * v + np.sin(angle) * u + (height - 1) / 2,
        )
    elif name == "shear_x":
        sources = (x + 0.3 * amount * (y + 0.5),)
    else:
        sources = (y + 0.3 * amount * (x + 0.5),)
    return np.any([np.abs(source % 1 - 0.5) < 1e-4 for source in sources], axis=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_single_functions_equal_torchvisions_functionals(channels):
    images = _images(channels)
    x = _torch(images)

    @quick_jit
    def exact(images):
        levels = tones.to_levels(images)
        return {
            "posterize": tones.posterize(levels, jnp.full(6, 3.0)),
            "solarize": tones.solarize(levels, jnp.full(6, 77.0)),
            "equalize": tones.equalize(levels),
            "translate": warp(images, right=jnp.full(6, -4.0)),
            "rotate": warp(images, degrees=17.0),
        }

    whole = {
        "posterize": functional.posterize(x, 3),
        "solarize": functional.solarize(x, 77),
        "equalize": functional.equalize(x),
        "translate": functional.affine(x, 0.0, [-4, 0], 1.0, [0.0, 0.0]),
        "rotate": functional.rotate(x, 17.0),
    }
    for name, changed in exact(images).items():
        np.testing.assert_array_equal(changed, whole[name].permute(0, 2, 3, 1), err_msg=name)

    @quick_jit
    def truncated(images, factors):
        levels = tones.to_levels(images)
        blends = (tones.brightness, tones.contrast, tones.color, tones.sharpness)
        return [*(blend(levels, factors) for blend in blends), tones.autocontrast(levels)]

    for factor in (0.0, 0.35, 1.0, 1.7):
        expected = (
            functional.adjust_brightness(x, factor),
            functional.adjust_contrast(x, factor),
            functional.adjust_saturation(x, factor),
            functional.adjust_sharpness(x, factor),
            functional.autocontrast(x),
        )
        for ours, theirs in zip(truncated(images, jnp.full(6, factor)), expected, strict=True):
            off = np.abs(np.asarray(ours) - theirs.permute(0, 2, 3, 1).numpy())
            assert off.max() <= 1
            assert _share(off > 0) < 0.04


@pytest.mark.parametrize("shape", [(8, 8), (2, 5), (16, 16), (17, 16)])
def test_small_pictures_are_torchvisions_too(shape):
    """Too small to equalize (255 pixels and fewer) or to smooth."""
    images = np.random.default_rng(0).integers(0, 256, (4, *shape, 3)).astype(np.uint8)
    x = _torch(images)

    @quick_jit
    def change(images):
        levels = tones.to_levels(images)
        return tones.equalize(levels), tones.sharpness(levels, jnp.full(4, 1.3))

    expected = functional.equalize(x), functional.adjust_sharpness(x, 1.3)
    for ours, theirs, most in zip(change(images), expected, (0, 1), strict=True):
        assert np.abs(ours - theirs.permute(0, 2, 3, 1).numpy()).max() <= most


def test_layers_are_operations_one_after_another():
    """Each image is one of those that torchvision makes by any two operations and directions."""
    images = _images(3)
    keys = jax.random.split(jax.random.key(5), 6)
    change = quick_jit(rand_augment, static_argnames=("layers", "magnitude"))
    changed = np.asarray(change(images, keys, layers=2, magnitude=9))

    def every_operation(images):
        return [
            _theirs(images, name, magnitude)
            for name in OPERATIONS
            for magnitude in {_magnitude(images, name, 9, sign) for sign in (1, -1)}
        ]

    after_one = np.concatenate(every_operation(images))
    after_two = np.stack(every_operation(after_one)).reshape(-1, *images.shape)
    off = np.abs(after_two.astype(np.int16) - changed)
    assert ((off > 1).mean((2, 3, 4)).min(0) < 0.01).all()
