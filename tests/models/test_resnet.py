"""ResNet: sizes, stems, initialisation, precision, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.models.resnet import STEMS, VARIANTS, ResNet


def shapes_of(model, shape):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, *shape)))


@pytest.mark.parametrize(
    ("variant", "classes", "shape", "parameters"),
    [
        ("18", 1000, (224, 224, 3), 11_689_512),  # torchvision's resnet18
        ("50", 1000, (224, 224, 3), 25_557_032),  # and resnet50
        ("cifar18", 10, (32, 32, 3), 11_173_962),
        ("tiny", 10, (28, 28, 1), 96_314),
    ],
)
def test_parameters(variant, classes, shape, parameters):
    made = shapes_of(create_model("resnet", classes=classes, variant=variant), shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(made["params"])) == parameters


# 34, 101 and 152 are 18 and 50 with more blocks.
@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"34", "101", "152"}))
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 32, 3), (1, 3, 2)])
def test_logits_for_any_image(variant, shape):
    model = create_model("resnet", classes=7, variant=variant, dtype=jnp.bfloat16)
    x = jnp.ones((2, *shape))
    logits, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("cifar", 32), ("pooled", 16)])
def test_stems(stem, side):
    model = ResNet(3, (1,), width=8, stem=stem)
    seen = {}

    def look(x):
        _, state = model.apply(
            model.init(jax.random.key(0), x), x, capture_intermediates=True, mutable=True
        )
        seen.update(state["intermediates"])

    jax.eval_shape(look, jnp.ones((2, 32, 32, 3)))
    assert seen["layer1_0"]["__call__"][0].shape == (2, side, side, 8)


def test_unknown_stem():
    with pytest.raises(InputError, match=r"unknown stem 'cifr'; did you mean 'cifar'"):
        shapes_of(ResNet(3, stem="cifr"), (8, 8, 1))
    assert STEMS == ("imagenet", "cifar", "pooled")


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_residual_branch_starts_as_zero(bottleneck):
    def scales(zero_residual):
        model = ResNet(3, (1,), bottleneck, 8, "cifar", zero_residual)
        block = model.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))["params"]["layer1_0"]
        return [block[name]["norm"]["scale"] for name in sorted(block) if "conv" in name]

    *first, last = scales(True)
    assert not last.any()
    assert all((scale == 1).all() for scale in [*first, *scales(False)])


def test_convolutions_start_with_the_variance_of_their_outputs():
    params = ResNet(3, (1,), width=64, stem="cifar").init(
        jax.random.key(0), jnp.ones((1, 4, 4, 1))
    )["params"]
    kernel = params["layer1_0"]["conv1"]["conv"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)


@pytest.mark.slow
def test_half_precision_keeps_parameters_statistics_and_logits_in_float32():
    options = {"classes": 3, "depths": (1, 1), "width": 8, "stem": "cifar"}
    model = ResNet(dtype=jnp.bfloat16, **options)
    x = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
    variables = model.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact, _ = ResNet(**options).apply(variables, x, train=True, mutable=["batch_stats"])
    half, changed = model.apply(variables, x, train=True, mutable=["batch_stats"])
    assert half.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != exact).any()


def test_dropout_is_on_what_the_head_sees():
    model = ResNet(3, (1,), width=8, stem="cifar")
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 1))
    variables = model.init(jax.random.key(0), x)

    def logits(rate):
        rngs = {"dropout": jax.random.key(2)}
        options = {"train": True, "dropout_rate": rate, "mutable": ["batch_stats"]}
        return model.apply(variables, x, rngs=rngs, **options)[0]

    np.testing.assert_array_equal(logits(0.0), logits(None))
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_allclose(logits(1 - 1e-7), jnp.broadcast_to(bias, (4, 3)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"variant": "cifar"}, "unknown variant 'cifar'; did you mean 'cifar18'"),
        ("vit", {"variant": "s14"}, "unknown variant 's14'; did you mean 's16'"),
        (
            "cnn",
            {"variant": "18"},
            "has no such option: --model resnet or efficientnet",
        ),
        ("resnet", {"hidden": (3,)}, "model 'resnet' has no such option: --model mlp or cnn"),
        ("vit", {"batch_norm": True}, "model 'vit' has no such option: --model mlp or cnn"),
        ("resnet", {"pool": "mean"}, "model 'resnet' has no such option: --model vit"),
        ("resnet", {"widht": 3}, "widht = 3; model 'resnet' has no such option$"),
    ],
)
def test_what_a_model_lacks_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        create_model(name, classes=2, **options)
