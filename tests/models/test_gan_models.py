"""The networks of GANs: sizes they can make, published sizes of theirs, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.dcgan import halved_sizes
from jaxmodels.models.gan_layers import stages
from jaxmodels.models.gans import GANModels
from tests.marks import slow_but

LATENTS = 12
NAMES = ("dcgan", "sngan", "r3gan")


def networks(name, shape, width=64, norm="", classes=0):
    """The generator and the discriminator; norm: empty for the architecture's own."""
    return GANModels(model=name, width=width, norm=norm).create(shape, classes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (8, 8, 1), (24, 32, 1)])
def test_shapes(name, shape):
    def both():
        generator, discriminator = networks(name, shape, 16)
        latents = jnp.zeros((2, LATENTS))
        made = generator.init_with_output(jax.random.key(0), latents)[0]
        return made, discriminator.init_with_output(jax.random.key(0), made)[0]

    images, logits = jax.eval_shape(both)
    assert images.shape == (2, *shape)
    assert logits.shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("dcgan", NAMES))
def test_images_fill_their_range_and_depend_on_latents(name):
    generator, discriminator = networks(name, (8, 8, 1), 16)
    latents = jax.random.normal(jax.random.key(1), (64, LATENTS))
    variables = generator.init(jax.random.key(2), latents)
    images, _ = generator.apply(variables, latents, train=True, mutable=["batch_stats"])
    assert jnp.max(jnp.abs(images)) <= 1
    assert images.std(0).min() > 1e-3
    variables = discriminator.init(jax.random.key(3), images)
    assert discriminator.apply(variables, images).std() > 0


def _count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_dcgan_has_the_parameters_of_the_published_one():
    """pytorch/examples dcgan at 64x64x3, 100 latents: 3,576,704 and 2,765,568. Ours has biases
    where no BatchNorm follows: of the three colours, of the first layer, of the logit."""
    generator, discriminator = networks("dcgan", (64, 64, 3), norm="batch")
    made = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 100)))
    seen = jax.eval_shape(discriminator.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert _count(made) == 3_576_704 + 3
    assert _count(seen) == 2_765_568 + 64 + 1


def test_sngan_has_the_parameters_of_the_published_one():
    """Counted from Miyato et al.'s table of the 32x32 networks. Three of our convolutions leave out
    the bias before a BatchNorm."""
    generator, discriminator = networks("sngan", (32, 32, 3), norm="spectral")
    made = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 128)))
    seen = jax.eval_shape(discriminator.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    up = 2 * 9 * 256**2 + 256 + 256**2 + 256 + 2 * 512
    three, one = 9 * 128**2 + 128, 128**2 + 128
    assert _count(made) == (128 * 16 * 256 + 16 * 256) + 3 * up + 512 + 9 * 256 * 3 + 3
    assert _count(seen) == (9 * 3 + 3) * 128 + 2 * 128 + 7 * three + one + 129


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("dcgan", NAMES))
def test_conditional_networks_use_the_label(name):
    generator, discriminator = networks(name, (8, 8, 1), 16, classes=3)
    latents = jnp.tile(jax.random.normal(jax.random.key(1), (1, LATENTS)), (3, 1))
    labels = jnp.arange(3)
    made = generator.init(jax.random.key(2), latents, labels)
    # Tables of BatchNorm start alike for all classes.
    made = {**made, "params": jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), made["params"]
    )}  # fmt: skip
    images = generator.apply(made, latents, labels)
    assert jnp.abs(images[0] - images[1]).max() > 1e-3
    same = jnp.tile(images[:1], (3, 1, 1, 1))
    seen = discriminator.init(jax.random.key(3), same, labels)
    assert np.ptp(discriminator.apply(seen, same, labels)) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "sngan"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
def test_norms_of_the_discriminator(name, norm):
    _, discriminator = networks(name, (16, 16, 1), 16, norm)
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    variables = discriminator.init(jax.random.key(0), images)
    assert ("batch_stats" in variables) == (norm == "batch")
    assert ("spectral" in variables) == (norm == "spectral")
    options = {"train": True, "mutable": ["batch_stats", "spectral"]}
    whole, _ = discriminator.apply(variables, images, **options)
    alone, _ = discriminator.apply(variables, images[:1], **options)
    # Only through BatchNorm does an image see the others.
    assert np.allclose(whole[:1], alone, atol=1e-4) == (norm != "batch")


def test_spectral_norms_bound_the_slope():
    """With every kernel of norm 1, logits change by at most the sum of what layers pass on."""
    _, discriminator = networks("dcgan", (16, 16, 1), 16, "spectral")
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    variables = discriminator.init(jax.random.key(0), images)
    params, spectral = variables["params"], {"spectral": variables["spectral"]}
    for _ in range(50):
        _, spectral = discriminator.apply(
            {"params": params, **spectral}, images, train=True, mutable=["spectral"]
        )
    scaled = jax.tree.map(lambda leaf: 7 * leaf if leaf.ndim > 1 else leaf, params)
    for scale in (params, scaled):
        logits = discriminator.apply({"params": scale, **spectral}, images)
        np.testing.assert_allclose(
            logits, discriminator.apply({"params": params, **spectral}, images), rtol=1e-4
        )


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((28, 28, 1), ((7, 7), 2)),
        ((32, 32, 3), ((4, 4), 3)),
        ((64, 64, 3), ((4, 4), 4)),
        ((8, 8, 1), ((2, 2), 2)),
        ((16, 24, 1), ((4, 6), 2)),
    ],
)
def test_stages(shape, expected):
    assert stages(shape) == expected


@pytest.mark.parametrize("shape, near", [((27, 27, 1), 28), ((18, 18, 3), 16), ((100, 100, 3), 96)])
def test_sizes_that_no_doubling_reaches_are_refused_with_the_nearest(shape, near):
    with pytest.raises(InputError, match=rf"{shape[0]}x{shape[1]}.*--image-size {near}$"):
        stages(shape)


@pytest.mark.parametrize("shape", [(27, 30, 1), (4, 4, 1), (33, 50, 3)])
def test_dcgan_makes_any_size(shape):
    generator, discriminator = networks("dcgan", shape, 4, "none")

    def both():
        made = generator.init_with_output(jax.random.key(0), jnp.zeros((2, LATENTS)))[0]
        return made, discriminator.init_with_output(jax.random.key(0), made)[0]

    images, logits = jax.eval_shape(both)
    assert (images.shape, logits.shape) == ((2, *shape), (2,))


def test_dcgan_halves_to_four_pixels():
    assert halved_sizes((28, 28, 1)) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert halved_sizes((64, 64, 3))[-1] == (4, 4)
    assert halved_sizes((8, 8, 1)) == [(8, 8), (4, 4), (2, 2)]
    with pytest.raises(InputError, match=r"3x9.*--image-size"):
        halved_sizes((3, 9, 1))


def test_unknown_names_and_norms():
    with pytest.raises(InputError, match="did you mean 'dcgan'"):
        networks("dcgam", (8, 8, 1), norm="batch")
    with pytest.raises(InputError, match="did you mean 'spectral'"):
        networks("dcgan", (8, 8, 1), norm="spectrl")
    with pytest.raises(InputError, match=r"norm = batch.*--norm none"):
        networks("r3gan", (8, 8, 1), norm="batch")
    with pytest.raises(InputError, match="width = 0; expected at least 1"):
        networks("dcgan", (8, 8, 1), width=0)


def test_the_default_pair_and_the_norms_of_their_own():
    generator, discriminator = GANModels().create((8, 8, 1))
    assert (generator.width, discriminator.width, discriminator.norm) == (32, 32, "batch")
    norms = [GANModels(model=name).chosen_norm for name in NAMES]
    assert norms == ["batch", "spectral", "none"]
    assert GANModels(model="sngan", norm="layer").chosen_norm == "layer"
