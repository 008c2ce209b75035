"""The dense detector: its places, its backbones, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.models.fcos import FCOSConfig, make_backbone, places_of
from jaxmodels.models.layers import GroupNorm
from jaxmodels.models.resnet import ResNetConfig
from tests.marks import slow

KEY = jax.random.key(0)


def test_places_are_the_centres_of_squares():
    points, strides = places_of({4: (1, 2), 8: (1, 1)})
    np.testing.assert_array_equal(points, [[2, 2], [6, 2], [4, 4]])
    np.testing.assert_array_equal(strides, [4, 4, 8])


@pytest.mark.parametrize(
    ("backbone", "norm"), [("tiny", "group"), ("resnet18", "batch"), slow("lite0", "group")]
)
def test_all_levels_have_outputs_for_any_canvas(backbone, norm):
    model = FCOSConfig(backbone=backbone, strides=(8, 16, 32), norm=norm, width=16).create(5)
    image = jnp.zeros((2, 72, 100, 3))
    found, variables = jax.eval_shape(lambda: model.init_with_output(KEY, image, train=True))
    places = 9 * 13 + 5 * 7 + 3 * 4
    assert found.logits.shape == (2, places, 5) and found.boxes.shape == (2, places, 4)
    assert found.points.shape == (places, 2)
    # Levels share the head's convolutions; with batch they have norms of their own.
    head = variables["params"]["head"]
    assert len([name for name in head if "_norm" in name]) == (4 if norm == "group" else 12)


def test_the_first_boxes_are_as_large_as_the_places_see():
    model = FCOSConfig(strides=(4, 8), width=8, depth=0).create(2)
    image = jax.random.normal(KEY, (1, 32, 32, 3))
    found = jax.jit(lambda: model.init_with_output(KEY, image)[0])()
    np.testing.assert_allclose(nn.sigmoid(found.logits), 0.01, atol=0.01)
    sides = np.asarray(found.boxes[0, :, 2:] - found.boxes[0, :, :2])
    expected = 2 * np.e * np.repeat([4, 8], [64, 16])
    np.testing.assert_allclose(sides, np.stack([expected, expected], -1), rtol=0.5)


@pytest.mark.parametrize(
    ("name", "classifier"),
    [slow("lite0", EfficientNetConfig()), ("resnet18", ResNetConfig(variant="18"))],
)
def test_a_backbone_is_a_classifier_without_its_end(name, classifier):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def shapes(model):
        tree = jax.eval_shape(lambda x: model.init(KEY, x), image)
        return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}

    whole = shapes(classifier.create(10))
    backbone = shapes(make_backbone(name, 32))
    assert backbone.items() <= whole.items()
    left = {path.split("/")[1] for path in whole.keys() - backbone.keys()}
    assert left <= {"top", "head"}
    shorter = shapes(make_backbone(name, 16))
    assert shorter.items() < backbone.items()
    features = jax.eval_shape(lambda x: make_backbone(name, 32).init_with_output(KEY, x)[0], image)
    assert all(leaf.shape[1] == 64 // at for at, leaf in features.items())


def test_group_norm_is_flaxs():
    x = 3 + jax.random.normal(KEY, (2, 5, 4, 12))
    ours, theirs = GroupNorm(groups=3), nn.GroupNorm(num_groups=3)
    variables = theirs.init(KEY, x)
    assert jax.tree.structure(variables) == jax.tree.structure(ours.init(KEY, x))
    variables = jax.tree.map(lambda leaf: leaf + jnp.arange(12.0), variables)
    expected = theirs.apply(variables, x)
    np.testing.assert_allclose(ours.apply(variables, x), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="12 channels in 5 groups"):
        GroupNorm(groups=5).init(KEY, x)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"strides": (8, 32)}, "strides = 8 32; expected powers of 2"),
        ({"strides": ()}, "expected powers of 2"),
        ({"strides": (2, 4), "backbone": "resnet18"}, "from 4 to 32 with --backbone resnet18"),
        ({"width": 12}, "expected a multiple of 8"),
        ({"assignment": "aligner"}, "Did you mean|aligned"),
        ({"nms": 1.5}, "nms = 1.5; expected 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, told):
    with pytest.raises(InputError, match=told):
        FCOSConfig(**flags).validate()
