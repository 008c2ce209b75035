"""Boxes ride along with their pictures: against drawn masks that are changed by the same draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxmodels.ops.augmentation import (
    Boxed,
    Jitter,
    erased_pictures,
    mixed_pictures,
    random_places,
)
from jaxmodels.ops.augmentation.boxes import largest
from jaxmodels.ops.augmentation.tiles import Tiles, placed_boxes, placed_pixels

HEIGHT, WIDTH = 56, 72
EXTENTS = np.array([[72, 56], [60, 56], [72, 40], [50, 50], [64.5, 52.25]], np.float32)
PICTURES = len(EXTENTS)
RECTANGLES = np.array([[4, 5, 20, 17], [25, 3, 47, 30], [8, 22, 18, 38]], np.float32)


def drawn(box):
    mask = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = 255
    return mask


def around(mask):
    """The box around all that is marked."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def of_masks(chosen=None):
    """Pictures of one rectangle (picture, rectangle) in white, with the boxes of all."""
    images = np.zeros((PICTURES, HEIGHT, WIDTH, 1), np.uint8)
    if chosen is not None:
        images[chosen[0]] = drawn(RECTANGLES[chosen[1]])
    boxes = np.broadcast_to(RECTANGLES, (PICTURES, *RECTANGLES.shape))
    labels = np.arange(boxes.shape[0] * boxes.shape[1], dtype=np.int32).reshape(boxes.shape[:2])
    crowd = labels % 2 == 0
    return Boxed(*map(jnp.asarray, (images, boxes, labels, crowd)))


CASES = {
    "shift": Jitter(),
    "scale": Jitter((0.5, 1.8), 1.4),
    "flips": Jitter((0.9, 1.2), 1.0, 0.5, 0.5),
    "mosaic": Jitter((0.6, 1.3), 1.2, 0.5, 0.5, 0.6),
}


@pytest.mark.parametrize("name", CASES)
def test_boxes_are_those_of_masks_that_are_changed_alike(name):
    least = 0.3
    places = jax.jit(
        lambda given, keys: random_places(given, jnp.asarray(EXTENTS), keys, CASES[name], least, 0)
    )
    seen = dropped = 0
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), PICTURES)
        for chosen in np.ndindex(PICTURES, len(RECTANGLES)):
            out = jax.device_get(places(of_masks(chosen), keys))
            label = chosen[0] * len(RECTANGLES) + chosen[1]
            for picture in range(PICTURES):
                mask = out.images[picture, ..., 0] >= 128
                at = np.flatnonzero(out.labels[picture] == label)
                if len(at):
                    box = out.boxes[picture, at[0]]
                    np.testing.assert_allclose(box, around(mask), atol=1.01)
                    assert out.crowd[picture, at[0]] == (label % 2 == 0)
                    seen += 1
                elif mask.any():
                    # What is left of it is narrow, or less than the least share of what it was.
                    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
                    narrow = min(np.ptp(rows), np.ptp(columns)) < 3
                    box = RECTANGLES[chosen[1]]
                    area = np.prod(box[2:] - box[:2]) * CASES[name].scale[1] ** 2
                    assert narrow or mask.sum() < 1.2 * least * area
                    dropped += 1
    assert seen > 30 and (name in ("shift", "flips") or dropped > 0)


def test_pixels_are_those_of_scipy():
    images = np.random.default_rng(0).integers(0, 256, (2, 1, HEIGHT, WIDTH, 2), np.uint8)
    factor = np.array([[[1.3, 0.8]], [[-0.7, 1.1]]], np.float32)
    shift = np.array([[[-9.5, 4.25]], [[60.0, -7.0]]], np.float32)
    meeting = np.array([[WIDTH, HEIGHT]] * 2, np.float32)
    extents = np.array([[[WIDTH, HEIGHT]], [[WIDTH, HEIGHT]]], np.float32)
    tiles = Tiles(*map(jnp.asarray, (factor, shift, meeting)))
    drawn_there = jax.jit(placed_pixels)(jnp.asarray(images), jnp.asarray(extents), tiles)
    for at in range(2):
        x = (np.arange(WIDTH) + 0.5 - shift[at, 0, 0]) / factor[at, 0, 0] - 0.5
        y = (np.arange(HEIGHT) + 0.5 - shift[at, 0, 1]) / factor[at, 0, 1] - 0.5
        grid = np.meshgrid(y, x, indexing="ij")
        inside = (grid[0] >= -0.5) & (grid[0] < HEIGHT - 0.5)
        inside &= (grid[1] >= -0.5) & (grid[1] < WIDTH - 0.5)
        for channel in range(2):
            source = images[at, 0, ..., channel].astype(float)
            wanted = ndimage.map_coordinates(source, grid, order=1, mode="nearest")
            found = np.where(inside, drawn_there[at, ..., channel], 114)
            np.testing.assert_allclose(found[inside], wanted[inside], atol=0.51)
            assert (np.asarray(drawn_there[at, ..., channel])[~inside] == 114).all()


def test_nothing_changes_without_jitter_and_mirrors_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (PICTURES, HEIGHT, WIDTH, 1), np.uint8)
    given = of_masks()._replace(images=jnp.asarray(images))
    extents = jnp.full((PICTURES, 2), jnp.array([WIDTH, HEIGHT], jnp.float32))
    keys = jax.random.split(jax.random.key(0), PICTURES)
    places = jax.jit(random_places, static_argnums=3)
    same = places(given, extents, keys, Jitter())
    np.testing.assert_array_equal(same.images, images)
    mirrored = places(given, extents, keys, Jitter(flip=1.0, vertical_flip=1.0))
    np.testing.assert_array_equal(mirrored.images, images[:, ::-1, ::-1])
    x0, y0, x1, y1 = np.moveaxis(RECTANGLES, -1, 0)
    turned = np.stack([WIDTH - x1, HEIGHT - y1, WIDTH - x0, HEIGHT - y0], axis=-1)
    area = np.prod(RECTANGLES[:, 2:] - RECTANGLES[:, :2], axis=1)
    order = np.argsort(-area, kind="stable")
    np.testing.assert_allclose(mirrored.boxes[2], turned[order])
    np.testing.assert_allclose(same.boxes[2], RECTANGLES[order])


def test_a_box_is_visible_as_long_as_it_keeps_its_share():
    meeting = jnp.array([[40.0, 40.0]])
    boxes = jnp.array([[[[0, 0, 20, 10], [30, 0, 50, 10], [35, 0, 55, 10], [39, 0, 42, 10]]]])
    tiles = Tiles(jnp.ones((1, 1, 2)), jnp.zeros((1, 1, 2)), meeting)
    placed, visible = placed_boxes(boxes.astype(jnp.float32), tiles, (40, 40), least=0.4)
    assert visible.tolist() == [[[True, True, False, False]]]
    assert placed[0, 0, 1].tolist() == [30, 0, 40, 10]


def test_mixed_pictures_have_the_boxes_of_both():
    given = of_masks((1, 0))
    keys = jax.random.split(jax.random.key(0), PICTURES)
    mixing = jax.jit(mixed_pictures, static_argnums=(2, 3))
    mixed = mixing(given, keys, 1.0, 6)
    half = given.images[1].astype(int) // 2 + given.images[1] % 2
    np.testing.assert_array_equal(mixed.images[1], half)
    np.testing.assert_array_equal(mixed.images[2], half)
    assert sorted(mixed.labels[2].tolist()) == [3, 4, 5, 6, 7, 8]
    assert sorted(mixed.labels[0].tolist()) == [0, 1, 2, 12, 13, 14]
    alone = mixing(given, keys, 0.0, 4)
    np.testing.assert_array_equal(alone.images, given.images)
    assert [sorted(row) for row in alone.labels.tolist()] == [
        [-1, *range(3 * at, 3 * at + 3)] for at in range(PICTURES)
    ]


def test_boxes_of_mixed_pictures_are_those_of_their_masks():
    keys = jax.random.split(jax.random.key(0), PICTURES)
    mixing = jax.jit(lambda given: mixed_pictures(given, keys, 0.5, 6))
    alone = of_masks()
    is_mixed = np.sort(mixing(alone).labels, axis=1)[:, 0] >= 0
    assert 0 < is_mixed.sum() < PICTURES
    for chosen in np.ndindex(PICTURES, len(RECTANGLES)):
        mixed = jax.device_get(mixing(of_masks(chosen)))
        label = chosen[0] * len(RECTANGLES) + chosen[1]
        for picture in range(PICTURES):
            mask = mixed.images[picture, ..., 0] > 0
            at = np.flatnonzero(mixed.labels[picture] == label)
            assert len(at) == mask.any()
            if mask.any():
                assert mixed.boxes[picture, at[0]].tolist() == around(mask)
                assert mask.sum() == drawn(RECTANGLES[chosen[1]]).astype(bool).sum()


def test_boxes_stay_as_long_as_what_is_erased_leaves_their_share():
    least, kept, left_out = 0.4, 0, 0
    erasing = jax.jit(lambda given, keys: erased_pictures(given, keys, 0.9, least, (0.05, 0.6), 0))
    for seed in range(15):
        keys = jax.random.split(jax.random.key(seed), PICTURES)
        for at, rectangle in enumerate(RECTANGLES):
            mask = drawn(rectangle)
            given = of_masks()._replace(images=jnp.asarray(np.stack([mask] * PICTURES)))
            out = jax.device_get(erasing(given, keys))
            for picture in range(PICTURES):
                label = at + picture * len(RECTANGLES)
                share = (out.images[picture] > 0).sum() / (mask > 0).sum()
                there = bool(out.labels[picture, at] == label)
                assert there == (share >= least), (seed, at, picture)
                assert (out.labels[picture, at] == -1) == (not there)
                wanted = rectangle if there else np.zeros(4)
                np.testing.assert_array_equal(out.boxes[picture, at], wanted)
                assert out.crowd[picture, at] == (there and label % 2 == 0)
                kept, left_out = kept + (there and share < 1), left_out + (not there)
    assert kept > 5 and left_out > 5


def test_the_largest_boxes_are_kept():
    boxes = jnp.array([[[0, 0, 1, 1], [0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 3, 3]]], jnp.float32)
    labels = jnp.array([[0, 1, -1, 3]])
    kept, names, crowd = largest(boxes, labels, jnp.ones((1, 4), bool), 2)
    assert names.tolist() == [[1, 3]] and kept[0, 0].tolist() == [0, 0, 5, 5]
    kept, names, crowd = largest(boxes, labels, jnp.ones((1, 4), bool), 5)
    assert names.tolist() == [[1, 3, 0, -1, -1]] and crowd.tolist() == [[True] * 3 + [False] * 2]
    assert not kept[0, 3:].any()
