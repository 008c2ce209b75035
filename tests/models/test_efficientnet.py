"""EfficientNet-Lite: its published sizes, and its table of names."""

from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models import efficientnet_names
from jaxmodels.models.efficientnet import EfficientNet, EfficientNetConfig, Stage
from jaxmodels.pretrained import Stored, Weights


def shapes_of(variant):
    model = EfficientNetConfig(variant=variant).create(1000)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant, millions",  # the README of efficientnet/lite in TensorFlow's tpu repository
    [("lite0", 4.7), ("lite1", 5.4), ("lite2", 6.1), ("lite3", 8.2), ("lite4", 13.0)],
)
def test_has_the_published_number_of_parameters(variant, millions):
    leaves = jax.tree.leaves(shapes_of(variant)["params"])
    assert round(sum(prod(leaf.shape) for leaf in leaves) / 1e6, 1) == millions


def weights_of(variant):
    """Hollow weights by their published names."""
    shapes = flatten_dict(shapes_of(variant), sep="/")
    arrays = {}
    for entry in efficientnet_names.published(EfficientNetConfig(variant=variant)).entries:
        hollow = [np.broadcast_to(np.float32(0), shapes[path].shape) for path in entry.paths]
        array = entry.layout.outward(*hollow)
        arrays[entry.name] = Stored(array.shape, array.dtype, lambda array=array: array)
    return Weights(Path("made"), arrays)


@pytest.mark.parametrize("variant", ["lite0", "lite4"])
def test_the_variant_is_told_by_the_shapes(variant):
    weights = weights_of(variant)
    assert efficientnet_names.is_published(weights)
    flags = efficientnet_names.flags_from_published(weights)
    assert flags == {"model": "efficientnet", "variant": variant}


def test_other_widths_are_refused():
    weights = weights_of("lite0")
    arrays = dict(weights.arrays)
    del arrays["_blocks.15._project_conv.weight"]
    with pytest.raises(InputError, match="15 blocks of other widths; expected EfficientNet-Lite"):
        efficientnet_names.flags_from_published(Weights(Path("made"), arrays))


@pytest.mark.slow
def test_a_shortcut_is_there_where_the_shape_stays():
    stages = (Stage(2, 3, 2, 1, 8),)
    model = EfficientNet(classes=2, stages=stages, stem=8, head=8)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = model.init(jax.random.key(0), x)

    def pooled(block_1):
        params = variables["params"] | {"block_1": block_1}
        return model.apply(variables | {"params": params}, x)

    # A block whose last norm gives zero passes its input on.
    own = variables["params"]["block_1"]
    silent = own | {"project": jax.tree.map(jnp.zeros_like, own["project"])}
    silent_scale = own | {
        "project": own["project"] | {"norm": jax.tree.map(jnp.zeros_like, own["project"]["norm"])}
    }
    np.testing.assert_array_equal(pooled(silent), pooled(silent_scale))
    assert np.abs(pooled(own) - pooled(silent)).max() > 1e-4
    shallow = model.clone(stages=(Stage(1, 3, 2, 1, 8),))
    without = {
        name: {layer: part for layer, part in tree.items() if layer != "block_1"}
        for name, tree in variables.items()
    }
    np.testing.assert_allclose(shallow.apply(without, x), pooled(silent), atol=1e-6)
