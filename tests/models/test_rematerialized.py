"""What gradients compute again: the same numbers, block by block."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.models.conformer import ConformerConfig
from jaxmodels.models.gans import GANModels
from jaxmodels.models.options import with_options
from jaxmodels.models.sound_models import SoundModels
from jaxmodels.models.vit import ViTConfig
from jaxmodels.models.vocos import VocosConfig
from jaxmodels.models.whisper import WhisperConfig
from jaxmodels.ops.rematerialize import rematerialized_whole, use_remat
from jaxmodels.ops.spectral import Transform
from tests.marks import campaign, slow


def _normal(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def _image(model, **options):
    return create_model(model, classes=4, **options), (_normal(8, 16, 16, 1),)


def _vit():
    return ViTConfig(patch=8, width=8, depth=2, heads=2).create(4), (_normal(2, 16, 16, 1),)


def _sound(model, **options):
    return with_options(SoundModels(model=model), **options).create(3), (_normal(2, 20, 40),)


def _conformer():
    model = ConformerConfig(width=8, layers=2, heads=2, halvings=1).create(5)
    return model, (_normal(2, 16, 8), jnp.array([16, 9]))


def _whisper():
    sizes = {"layers": 1, "decoder_layers": 2, "width": 8, "heads": 2, "sounds": 6, "bands": 4}
    model = WhisperConfig(**sizes, context=8).create(9)
    return model, (_normal(2, 12, 4), jnp.array([[1, 2, 3], [4, 5, 6]]))


def _vocos():
    transform = Transform(window=16, hop=4)
    return VocosConfig(width=8, depth=2).create(transform), (_normal(2, 9, 5), 32)


def _player(index, model):
    network = GANModels(model=model, width=8).create((8, 8, 1))[index]
    return network, (_normal(4, 8) if index == 0 else _normal(4, 8, 8, 1),)


# Networks with their inputs, and the number of their blocks; 1 where the whole is one.
NETWORKS = {
    "resnet": (partial(_image, "resnet", variant="tiny"), 4),
    "vit": (_vit, 2),
    "kwt": (partial(_sound, "kwt", width=8, depth=2, heads=2), 2),
    "bcresnet": (partial(_sound, "bcresnet"), 12),
    "conformer": (_conformer, 2),
    "whisper": (_whisper, 3),
    "vocos": (_vocos, 2),
    "sngan": (partial(_player, 0, "sngan"), 2),
    "sngan discriminator": (partial(_player, 1, "sngan"), 4),
    "r3gan": (partial(_player, 0, "r3gan"), 6),
    "cnn": (partial(_image, "cnn", batch_norm=True), 1),
    "dcgan": (partial(_player, 0, "dcgan"), 1),
}


@pytest.mark.parametrize(
    ("name", "remat"),
    [("vocos", "full"), slow("vit", "block"), slow("cnn", "full")]
    + [campaign(name, "full") for name in NETWORKS if name not in ("vocos", "cnn")]
    + [campaign(name, "block") for name in ("resnet", "conformer", "cnn")],
)
def test_blocks_are_computed_again_and_gradients_are_the_same(name, remat, optimized):
    make, blocks = NETWORKS[name]
    model, inputs = make()
    variables = dict(model.init(jax.random.key(1), *inputs))
    params = variables.pop("params")
    trains = {} if name == "vocos" else {"train": True, "mutable": [*variables]}

    def loss(params):
        made = model.apply({"params": params, **variables}, *inputs, **trains)
        leaves = [leaf for leaf in jax.tree.leaves(made) if leaf.dtype == jnp.float32]
        return sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)

    def gradient(params):
        return jax.grad(rematerialized_whole(loss))(params)

    plain = jax.jit(gradient)(params)
    with use_remat(remat):
        text = str(jax.make_jaxpr(rematerialized_whole(loss))(params))
        again = jax.jit(lambda params: gradient(params))(params)
    assert len(re.findall(r" = (?:checkpoint|remat2?)\[", text)) == blocks
    for a, b in zip(*map(jax.tree.leaves, (plain, again)), strict=True):
        assert jnp.linalg.norm(a - b) <= 2e-3 * jnp.linalg.norm(a) + 1e-5


def test_block_keeps_products_and_convolutions_and_full_nothing():
    model, (x,) = _image("cnn", hidden=(96,))
    params = model.init(jax.random.key(1), x)

    def kept(remat):
        """The sizes of what the gradient reads, but for parameters and images."""
        with use_remat(remat):
            loss = rematerialized_whole(lambda params: jnp.sum(model.apply(params, x)))
            _, pull_back = jax.vjp(loss, params)
        given = {leaf.size for leaf in (x, *jax.tree.leaves(params))}
        return [leaf.size for leaf in jax.tree.leaves(pull_back) if leaf.size not in given]

    convolved = [8 * 16 * 16 * 32, 8 * 8 * 8 * 64]
    assert kept("full") == []
    assert sorted(kept("block")) == sorted([*convolved, 8 * 96])
    assert len(kept("none")) > len(kept("block"))


def test_other_words_are_refused():
    with pytest.raises(InputError, match="unknown remat 'all'"), use_remat("all"):
        pass
