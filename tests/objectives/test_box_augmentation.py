"""The flags of augmentation of pictures with boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxmodels.errors import InputError
from jaxmodels.objectives.box_augmentation import BoxAugmentationConfig, make_box_augmentation
from jaxmodels.protocol import DATA_AXIS
from tests.marks import slow

ALL = BoxAugmentationConfig(
    flip=True,
    vertical_flip=True,
    scale_jitter=(0.5, 1.5),
    aspect_jitter=1.2,
    mosaic=0.5,
    picture_mixup=0.5,
    color_jitter=(0.3,),
    erasing=0.5,
)


def batch(count=8, side=24, most=3):
    random = np.random.default_rng(0)
    corner = random.integers(0, side // 2, (count, most, 2))
    boxes = np.concatenate([corner, corner + random.integers(4, side // 2, corner.shape)], -1)
    return {
        "image": jnp.asarray(random.integers(0, 256, (count, side, side, 3), np.uint8)),
        "boxes": jnp.asarray(boxes, jnp.float32),
        "labels": jnp.asarray(random.integers(-1, 4, (count, most)), jnp.int32),
        "crowd": jnp.asarray(random.random((count, most)) < 0.2),
        "scale": jnp.full(count, 0.5),
        "size": jnp.asarray(random.integers(30, 2 * side + 1, (count, 2)), jnp.int32),
        "image_id": jnp.arange(count),
    }


def test_all_changes_together_make_batches_of_one_shape():
    augment = make_box_augmentation(ALL)
    out = jax.jit(augment)(batch(), jax.random.key(0))
    assert out["image"].shape == (8, 24, 24, 3) and out["image"].dtype == jnp.uint8
    assert out["boxes"].shape == (8, 6, 4) and out["labels"].shape == out["crowd"].shape == (8, 6)
    assert out.keys() == {"image", "boxes", "labels", "crowd", "image_id"}
    there = np.asarray(out["labels"]) >= 0
    boxes = np.asarray(out["boxes"])
    assert there.any() and (boxes[there] >= 0).all() and (boxes[there] <= 24).all()
    assert (boxes[there][:, 2:] - boxes[there][:, :2] >= 2).all()


@pytest.mark.parametrize("way", [slow("jit"), slow("shard_map")])
def test_draws_do_not_depend_on_the_number_of_devices(way):
    augment = make_box_augmentation(ALL)
    given, key = batch(), jax.random.key(3)
    alone = jax.jit(augment)(given, key)
    mesh = jax.make_mesh((4,), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    divided = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    function = augment
    if way == "shard_map":
        specs = PartitionSpec(DATA_AXIS), PartitionSpec()
        function = jax.shard_map(augment, mesh=mesh, in_specs=specs, out_specs=specs[0])
    shared = jax.jit(function)(jax.device_put(given, divided), key)
    for name, column in alone.items():
        if name == "image":  # a level may be rounded the other way
            difference = np.abs(column.astype(jnp.int32) - shared[name].astype(jnp.int32))
            assert (difference <= 1).all() and (difference > 0).mean() < 0.001
        else:
            np.testing.assert_allclose(column, shared[name], rtol=1e-5, atol=1e-4, err_msg=name)


def test_a_config_that_changes_nothing_makes_no_function():
    assert make_box_augmentation(BoxAugmentationConfig()) is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"mosaic": 1.5}, "0 <= mosaic <= 1"),
        ({"scale_jitter": (1.5, 0.5)}, "LOW <= HIGH"),
        ({"scale_jitter": (0.0, 1.0)}, "LOW <= HIGH"),
        ({"aspect_jitter": 0.5}, "expected 1 to 10"),
        ({"room": -1}, "at least 0"),
        ({"color_jitter": (0.1, 0.1)}, "one strength or four"),
    ],
)
def test_numbers_out_of_range_are_refused(flags, told):
    with pytest.raises(InputError, match=told):
        make_box_augmentation(BoxAugmentationConfig(**flags))
