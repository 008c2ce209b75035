"""Vision transformer: sizes, patches, positions, pooling, dropout, precision, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.models.layers import Conv
from jaxmodels.models.vit import POOLS, POSITIONS, VARIANTS, Attention, ViT, patches_of
from jaxmodels.models.vit import sincos_positions as sincos

SMALL = {"patch": 4, "width": 16, "depth": 1, "heads": 2}


def some_images(batch=4, size=8, channels=3):
    return jax.random.normal(jax.random.key(1), (batch, size, size, channels))


def started(model, x):
    """Variables whose head is not zero."""
    variables = model.init(jax.random.key(0), x)
    head = variables["params"]["head"]
    head["kernel"] = jax.random.normal(jax.random.key(2), head["kernel"].shape)
    return variables


@pytest.mark.parametrize(
    ("variant", "classes", "shape", "parameters"),
    [
        ("b16", 1000, (224, 224, 3), 86_567_656),  # torchvision's vit_b_16
        ("s16", 1000, (224, 224, 3), 21_974_632),
        ("tiny", 10, (28, 28, 1), 2_674_762),
    ],
)
def test_parameters(variant, classes, shape, parameters):
    model = create_model("vit", classes=classes, variant=variant)
    made = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, *shape)))
    assert sum(leaf.size for leaf in jax.tree.leaves(made["params"])) == parameters


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_logits(variant, pool, positions):
    model = create_model(
        "vit", classes=7, variant=variant, pool=pool, positions=positions, dtype=jnp.bfloat16
    )
    x = jnp.ones((2, 32, 16, 1))
    logits, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)


def test_patches_are_what_a_strided_convolution_sees():
    x = jax.random.normal(jax.random.key(0), (2, 6, 9, 2))
    conv = Conv(5, (3, 3), 3, "VALID", use_bias=False)
    variables = conv.init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"].reshape(-1, 5)
    np.testing.assert_allclose(patches_of(x, 3) @ kernel, conv.apply(variables, x), atol=1e-5)


def test_sincos_positions_by_their_formula():
    rows, columns, width = 3, 5, 12
    table = sincos(rows, columns, width)
    assert table.shape == (15, 12)
    for row in range(rows):
        for column in range(columns):
            frequencies = [1 / 10_000 ** (i / 2) for i in range(3)]
            expected = [
                f(at * w) for at in (column, row) for f in (np.sin, np.cos) for w in frequencies
            ]
            np.testing.assert_allclose(table[row * columns + column], expected, atol=1e-6)


@pytest.mark.slow
def test_mean_and_token_pooling():
    x = some_images()
    for pool in POOLS:
        model = ViT(5, pool=pool, **SMALL)
        variables = started(model, x)
        logits, state = model.apply(
            variables, x, capture_intermediates=True, mutable=["intermediates"]
        )
        y = state["intermediates"]["norm"]["__call__"][0]
        assert y.shape == (4, 4 + (pool == "token"), 16)
        features = y[:, 0] if pool == "token" else y.mean(1)
        expected = features @ variables["params"]["head"]["kernel"]
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_positions_tell_patches_apart_and_sincos_takes_any_size():
    x = some_images()
    turned = jnp.roll(x, 4, axis=2)
    for positions in POSITIONS:
        model = ViT(5, positions=positions, **SMALL)
        variables = started(model, x)
        assert not np.allclose(model.apply(variables, x), model.apply(variables, turned), atol=1e-3)
        if positions == "sincos":
            assert model.apply(variables, some_images(size=12)).shape == (4, 5)
        else:
            variables["params"]["positions"]["bias"] *= 0
            same = model.apply(variables, x), model.apply(variables, turned)
            np.testing.assert_allclose(*same, atol=1e-5)


def test_the_head_starts_as_zero():
    x = some_images()
    logits, _ = ViT(5, **SMALL).init_with_output(jax.random.key(0), x)
    assert not logits.any()


def test_dropout_only_in_training_and_only_with_a_rate():
    x = some_images()
    model = ViT(5, **SMALL)
    variables = started(model, x)

    def logits(**options):
        return model.apply(variables, x, rngs={"dropout": jax.random.key(3)}, **options)

    exact = logits()
    np.testing.assert_array_equal(logits(train=True, dropout_rate=None), exact)
    np.testing.assert_array_equal(logits(train=False, dropout_rate=0.5), exact)
    np.testing.assert_allclose(logits(train=True, dropout_rate=0.0), exact, atol=1e-5)
    assert not np.allclose(logits(train=True, dropout_rate=0.5), exact, atol=1e-2)


def test_attention_by_its_formula():
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    layer = Attention(heads=2)
    variables = layer.init(jax.random.key(1), x)
    params = variables["params"]
    query, key, value = (
        np.asarray(x @ params[n]["kernel"]).reshape(2, 5, 2, 4) for n in ("query", "key", "value")
    )
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = np.einsum("bhqk,bkhd->bqhd", weights, value).reshape(2, 5, 8)
    np.testing.assert_allclose(layer.apply(variables, x), y @ params["out"]["kernel"], atol=1e-5)


def test_attention_weights_are_float32_in_half_precision():
    x = jax.random.normal(jax.random.key(0), (1, 300, 8))
    layer = Attention(heads=1, dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(1), x)
    # The largest of many logits that differ by hundreds: neither overflow nor a rounded sum.
    variables = jax.tree.map(lambda p: 30 * p, variables)
    assert np.isfinite(layer.apply(variables, x).astype(jnp.float32)).all()
    text = str(jax.make_jaxpr(layer.apply)(variables, x))
    exponentials = [line for line in text.splitlines() if "= exp " in line]
    assert exponentials
    assert all("f32[" in line for line in exponentials)


def test_half_precision_keeps_parameters_and_logits_in_float32():
    x = some_images()
    model = ViT(5, dtype=jnp.bfloat16, **SMALL)
    variables = started(model, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact, half = ViT(5, **SMALL).apply(variables, x), model.apply(variables, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, atol=0.2)
    assert (half != exact).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"patch": 16},
            r"image size 28x28; expected a multiple of the patch size 16 \(--patch 1 or 2 or 4 or 7"
            r" or 14 or 28 divides it\)",
        ),
        ({"patch": 0}, r"expected a multiple of the patch size 0 \(--patch 1 or 2 or 4"),
        ({"patch": -4}, r"expected a multiple of the patch size -4 \(--patch 1 or 2 or 4"),
        ({"pool": "men"}, "unknown pool 'men'; did you mean 'mean'"),
        ({"positions": "learnt"}, "unknown positions 'learnt'; did you mean 'learned'"),
        ({"heads": 3}, "width = 16; expected a multiple of heads = 3"),
        ({"width": 6}, "width = 6; sincos positions need a multiple of 4"),
    ],
)
def test_errors(options, message):
    model = ViT(5, **(SMALL | options))
    with pytest.raises(InputError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))
