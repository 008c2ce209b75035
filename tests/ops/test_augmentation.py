"""What each augmentation does to a picture, how often, and that device counts do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmodels import across
from jaxmodels.ops import augmentation
from jaxmodels.ops.augmentation import erasing, tones
from jaxmodels.protocol import DATA_AXIS, example_keys
from jaxmodels.train.layout import make_mesh
from tests.ops.compiling import quick_jit, quick_options

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(1, 256, (64, 12, 10, 3)).astype(np.uint8)
KEYS = jax.random.split(jax.random.key(1), 64)
MANY = jax.random.split(jax.random.key(2), 2000)
crop = quick_jit(augmentation.random_crop, static_argnums=(2, 3))
flip = quick_jit(augmentation.random_flip)
erase = quick_jit(augmentation.random_erasing, static_argnames=("fill", "white"))
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


@pytest.mark.parametrize("fill", [0, 7, "reflect"])
def test_a_crop_is_a_window_of_the_padded_picture(fill):
    cropped = np.asarray(crop(IMAGES, KEYS, 2, fill))
    assert cropped.dtype == np.uint8
    options = {"mode": "reflect"} if fill == "reflect" else {"constant_values": fill}
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), **options)
    found = set()
    for image, window in zip(padded, cropped, strict=True):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(image[top : top + 12, left : left + 10], window)
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 18  # of 25
    assert {top for top, _ in found} == {left for _, left in found} == set(range(5))


def test_a_crop_in_the_middle_is_the_picture():
    middle = jnp.full(64, 3)
    cropped = quick_jit(augmentation.crop, static_argnums=3)(IMAGES, middle, middle, 3)
    np.testing.assert_array_equal(cropped, IMAGES)


def test_reflecting_more_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="padding = 10; expected less than the sides, 12 x 10"):
        crop(IMAGES, KEYS, 10, "reflect")


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_pictures_are_mirrored_with_the_probability(probability):
    images = np.broadcast_to(IMAGES[:1], (2000, 12, 10, 3))
    flipped = np.asarray(flip(images, MANY, probability))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == images).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - probability) <= 4 * np.sqrt(probability * (1 - probability) / 2000)


def test_boxes_to_erase_have_the_area_and_aspect():
    draws = jnp.asarray(GENERATOR.random((2000, 22), np.float32))
    boxes = quick_jit(jax.vmap(lambda draw: erasing.erasing_box(draw, 64, 48)))(draws)
    boxes = np.asarray(boxes)
    top, left, height, width = boxes.T
    assert ((top >= 0) & (left >= 0) & (top + height <= 64) & (left + width <= 48)).all()
    share, aspect = height * width / (64 * 48), height / width
    assert 0.015 < share.min() < 0.03
    assert 0.3 < share.max() < 0.34
    assert 0.25 < aspect.min() < 0.35
    assert 2.9 < aspect.max() < 3.7
    # Of two aspects that are each other's inverse neither is likelier.
    assert abs(np.median(np.log(aspect))) < 0.1
    assert {0, 63} <= {row for y, h in zip(top, height) for row in (y, y + h - 1)}


@pytest.mark.parametrize("fill", [0, "noise"])
def test_a_rectangle_is_erased_with_the_probability(fill):
    images = np.full((2000, 12, 10, 1), 16, np.uint8)
    erased = np.asarray(erase(images, MANY, 0.4, fill=fill, white=15))
    assert erased.dtype == np.uint8
    holes = (erased != 16)[..., 0]
    changed = holes.any((1, 2))
    assert abs(changed.mean() - 0.4) < 4 * np.sqrt(0.24 / 2000)
    for hole in holes[changed][:100]:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)
    values = np.bincount(erased[holes[..., None]], minlength=16)
    if fill == 0:
        assert (values[1:] == 0).all()
    else:
        assert len(values) == 16  # 0..white, as often each
        np.testing.assert_allclose(values / values.sum(), 1 / 16, rtol=0.15)


def test_a_picture_too_small_for_a_rectangle_stays():
    images = np.ones((64, 1, 1, 1), np.uint8)
    np.testing.assert_array_equal(erase(images, KEYS, 1.0), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_draws_every_operation_and_keeps_the_type(channels):
    images = IMAGES[..., :channels]
    changed = quick_jit(augmentation.rand_augment, static_argnums=2)(images, KEYS, 1, 30.0)
    assert changed.dtype == np.uint8
    same = (np.asarray(changed) == images).all((1, 2, 3)).sum()
    # The identity, equalize (too few pixels), and color of grey.
    assert 1 <= same <= 32


def test_rand_augment_of_another_white_or_type_is_that_of_its_grey_levels():
    levels = np.arange(0, 256, 17)[GENERATOR.integers(0, 16, (64, 8, 8, 1))].astype(np.uint8)

    augment = quick_jit(augmentation.rand_augment, static_argnums=(2, 3, 4))

    def change(images, white):
        return np.asarray(augment(images, KEYS, 1, 15, white), np.float32)

    expected = change(levels, 255)
    np.testing.assert_array_equal(change(levels // 17, 15), np.round(expected / 17))
    unit = change(levels.astype(np.float32) / 255, 1)
    # A level that lies at a half is rounded one way or the other, as the compiler has it.
    distance = np.abs(unit - expected / 255)
    assert distance.max() < 1.001 / 255
    assert np.mean(distance > 1e-6) < 1e-3


def test_rand_augment_refuses_two_channels():
    with pytest.raises(ValueError, match="2 channels"):
        augmentation.rand_augment(jnp.asarray(IMAGES[..., :2]), KEYS)


def test_histograms_count_every_pixel():
    values = GENERATOR.integers(0, 256, (3, 2, 500))
    counts = quick_jit(tones.histogram)(values)
    expected = [[np.bincount(channel, minlength=256) for channel in image] for image in values]
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.slow
def test_shares_of_mixing_are_beta_distributed():
    def share(key, **alphas):
        targets = jnp.eye(2)
        images = jnp.zeros((2, 40, 40, 1))
        return augmentation.random_mix(images, targets, key, **alphas)[1][0, 0]

    # Beta(1, 1) is uniform; the area of a box cut at the edges is smaller than drawn.
    uniform = quick_jit(jax.vmap(lambda key: share(key, mixup_alpha=1.0)))(MANY)
    np.testing.assert_allclose(np.quantile(uniform, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.04)
    boxes = quick_jit(jax.vmap(lambda key: share(key, cutmix_alpha=1.0)))(MANY)
    assert 0.6 < np.mean(boxes) < 0.75
    both = quick_jit(jax.vmap(lambda key: share(key, mixup_alpha=1e4, cutmix_alpha=1.0)))(MANY)
    assert 0.45 < (np.abs(both - 0.5) < 0.02).mean() < 0.57


def _recipe(images, labels, key):
    keys = [
        example_keys(jax.random.fold_in(key, part), across.positions(len(images)))
        for part in range(4)
    ]
    images = augmentation.random_flip(images, keys[0])
    images = augmentation.random_crop(images, keys[1], 2)
    images = augmentation.rand_augment(images, keys[2], layers=1)
    images = augmentation.random_erasing(images, keys[3], fill="noise")
    return augmentation.random_mix(images, jax.nn.one_hot(labels, 5), key, 0.4, 1.0)


LABELS = np.arange(64) % 5


@pytest.fixture(scope="module")
def recipe():
    return quick_jit(_recipe)


@pytest.mark.slow
@needs_8
def test_eight_devices_of_a_mesh_give_what_one_gives(recipe):
    """Mixing with the neighbour's last example included."""
    key = jax.random.key(3)
    one = recipe(IMAGES, LABELS, key)
    rows = NamedSharding(make_mesh("data=8"), PartitionSpec(DATA_AXIS))
    everywhere = NamedSharding(make_mesh("data=8"), PartitionSpec())
    program = jax.jit(_recipe, in_shardings=(rows, rows, everywhere), out_shardings=rows)
    compiled = program.lower(IMAGES, LABELS, key).compile(quick_options())
    assert "all-gather" not in compiled.as_text()
    assert "all-to-all" not in compiled.as_text()
    eight = compiled(*map(jax.device_put, (IMAGES, LABELS, key), (rows, rows, everywhere)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), eight, one)
    other = recipe(IMAGES, LABELS, jax.random.key(4))
    assert (np.asarray(other[0]) != one[0]).any((1, 2, 3)).all()


@needs_8
@pytest.mark.slow
def test_eight_devices_under_pmap_give_what_one_gives(recipe):
    key = jax.random.key(3)
    eight = jax.pmap(_recipe, DATA_AXIS, in_axes=(0, 0, None))(
        IMAGES.reshape(8, 8, *IMAGES.shape[1:]), LABELS.reshape(8, 8), key
    )
    eight = jax.tree.map(lambda x: x.reshape(64, *x.shape[2:]), eight)
    one = recipe(IMAGES, LABELS, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), eight, one)


def test_the_partner_is_the_one_before():
    np.testing.assert_array_equal(across.rotate(jnp.arange(5)), [4, 0, 1, 2, 3])
