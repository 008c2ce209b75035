"""Convolutions and linear layers beside flax's: fields, parameters, values, gradients, errors."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxmodels.models import layers
from jaxmodels.models.layers import Conv, ConvTranspose

KEY = jax.random.key(0)


def assert_is_flax(name, x, **options):
    """The layer `name` of ours has the initial parameters and the values of flax's."""
    ours, theirs = layer_of_both(name, options)
    variables, same = jax.jit(lambda key: (theirs.init(key, x), ours.init(key, x)))(KEY)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    assert_same_values(name, x, variables, **options)
    return ours, variables


def assert_same_values(name, x, variables=None, **options):
    """The layer `name` of ours has the values of flax's; variables: None for random ones."""
    ours, theirs = layer_of_both(name, options)
    if variables is None:
        generator = np.random.default_rng(0)
        variables = jax.tree.map(
            lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype),
            jax.eval_shape(theirs.init, KEY, x),
        )
    y, expected = jax.jit(lambda v, x: (ours.apply(v, x), theirs.apply(v, x)))(variables, x)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(
        np.asarray(y, np.complex64),
        np.asarray(expected, np.complex64),
        **({"atol": 0.05, "rtol": 0.02} if y.dtype == jnp.bfloat16 else {"atol": 1e-5}),
    )


def layer_of_both(name, options):
    return [getattr(module, name)(**options) for module in (layers, nn)]


def some(*shape):
    return jax.random.normal(jax.random.key(1), shape)


def lower_mask(*shape):
    return jnp.tril(jnp.ones(shape))


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "Dense"])
def test_fields_are_those_of_flax_in_its_order(name):
    """So that positional arguments mean the same."""
    ours, theirs = (
        [field.name for field in dataclasses.fields(getattr(module, name))]
        for module in (layers, nn)
    )
    assert [field for field in ours if field != "spectral"] == theirs
    first_own = theirs.index("parent")
    assert ours[: first_own + 1] == [*theirs[:first_own], "spectral"]


DENSE = [
    {},
    {"use_bias": False, "param_dtype": jnp.bfloat16},
    {"dtype": jnp.bfloat16, "bias_init": nn.initializers.normal()},
    {"precision": "highest", "kernel_init": nn.initializers.normal()},
    {"param_dtype": jnp.complex64},
    {"promote_dtype": lambda *arrays, dtype: [array.astype(jnp.bfloat16) for array in arrays]},
    {"dot_general": lambda *args, **options: 2 * lax.dot_general(*args, **options)},
    {"dot_general_cls": lambda: lambda *args, **options: -lax.dot_general(*args, **options)},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", DENSE, ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("x", [some(3), some(4, 3), jnp.arange(24).reshape(2, 4, 3)], ids=np.shape)
def test_dense_is_flax_dense(options, x):
    assert_is_flax("Dense", x, features=6, **options)


CONVOLUTIONS = [
    {},
    {"strides": (2, 1), "padding": "VALID", "kernel_dilation": 2},
    {"padding": ((1, 2), 0), "use_bias": False},
    {"padding": 2, "strides": None, "kernel_dilation": None},
    {"bias_init": nn.initializers.normal(), "dtype": jnp.bfloat16},
]
OF_ONE_KIND = {
    "Conv": [
        {"feature_group_count": 3},
        {"padding": "CIRCULAR", "kernel_dilation": (2, 1)},
        {"padding": "REFLECT"},
        {"kernel_size": (4,), "padding": "CAUSAL", "kernel_dilation": 2},
        {"kernel_size": 3, "strides": 2},
        {"input_dilation": (1, 2), "padding": ((1, 2), 0), "strides": 3},
        {"kernel_size": (3,), "input_dilation": None, "padding": "CIRCULAR"},
        {"kernel_size": 2, "input_dilation": 3, "padding": 1, "feature_group_count": 3},
        {"mask": lower_mask(3, 2, 6, 9)},
        {"mask": lower_mask(3, 2, 2, 9), "feature_group_count": 3, "dtype": jnp.bfloat16},
    ],
    "ConvTranspose": [
        {"strides": (2, 3)},
        {"strides": (2, 2), "transpose_kernel": True},
        {"kernel_size": 4, "strides": (2,)},
        {"mask": lower_mask(3, 2, 6, 9)},
        {"mask": lower_mask(3, 2, 9, 6), "transpose_kernel": True, "padding": "CIRCULAR"},
        {"preferred_element_type": jnp.float32, "padding": "CIRCULAR", "strides": (2, 2)},
    ],
}


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, own in OF_ONE_KIND.items() for options in CONVOLUTIONS + own],
)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_convolutions_are_flax_convolutions(name, options, batch):
    options = {"features": 9, "kernel_size": (3, 2)} | options
    axes = len(np.atleast_1d(options["kernel_size"]))
    assert_is_flax(name, some(*batch, *(5, 6)[:axes], 6), **options)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("dilation", "transpose_kernel"), [(1, False), (1, True), (2, False)])
def test_circular_transposes_along_one_axis(size, stride, dilation, transpose_kernel):
    assert_same_values(
        "ConvTranspose",
        some(2, 5, 3),
        features=4,
        kernel_size=(size,),
        strides=(stride,),
        padding="CIRCULAR",
        kernel_dilation=(dilation,),
        transpose_kernel=transpose_kernel,
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [(3, 3), (4, 4), (2, 5), (1, 6)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize(
    ("transpose_kernel", "dtype"), [(False, None), (True, None), (False, jnp.bfloat16)]
)
def test_circular_transposes_along_two_axes(size, strides, transpose_kernel, dtype):
    assert_same_values(
        "ConvTranspose",
        some(2, 4, 5, 3),
        features=2,
        kernel_size=size,
        strides=strides,
        padding="CIRCULAR",
        transpose_kernel=transpose_kernel,
        dtype=dtype,
    )


@pytest.mark.parametrize("size", [3, 4])
def test_a_circular_transpose_with_the_kernel_of_a_convolution_is_its_input_gradient(size):
    x, g = some(1, 6, 2), some(1, 3, 4)
    conv = Conv(4, (size,), (2,), "CIRCULAR", use_bias=False)
    back = ConvTranspose(2, (size,), (2,), "CIRCULAR", use_bias=False, transpose_kernel=True)

    @jax.jit
    def both(x, g):
        variables = conv.init(KEY, x)
        (gradient,) = jax.vjp(lambda x: conv.apply(variables, x), x)[1](g)
        return gradient, back.apply(variables, g)

    np.testing.assert_allclose(*both(x, g), atol=1e-5)


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_three_axes(name, padding):
    options = {"features": 3, "kernel_size": (2, 3, 1), "strides": (1, 2, 1), "padding": padding}
    assert_is_flax(name, some(2, 3, 4, 5, 2), **options)


@pytest.mark.parametrize(("name", "shape"), [("Conv", (3, 2, 4)), ("ConvTranspose", (3, 2, 4))])
def test_masked_weights_neither_act_nor_learn(name, shape):
    x, mask = some(2, 5, 2), jnp.tril(jnp.ones(shape))
    layer, variables = assert_is_flax(name, x, features=4, kernel_size=3, mask=mask)
    params = variables["params"]
    changed = {**params, "kernel": params["kernel"] + (1 - mask)}

    def loss(params):
        return jnp.sum(jnp.sin(layer.apply({"params": params}, x)))

    learn = jax.jit(jax.value_and_grad(loss))
    value, slope = learn(params)
    assert learn(changed)[0] == value
    assert np.all(slope["kernel"][mask == 0] == 0) and np.all(slope["kernel"][mask == 1] != 0)


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_masks_of_another_shape_are_refused_as_flax_does(name):
    x, mask = jnp.ones((1, 5, 2)), jnp.ones((3, 4, 2))
    messages = []
    for module in (layers, nn):
        with pytest.raises(ValueError, match="Mask needs to have the same shape") as raised:
            getattr(module, name)(4, 3, mask=mask).init(jax.random.key(0), x)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_functions_of_the_users_own_are_called_as_flax_calls_them():
    def doubled(*args, **options):
        return 2 * lax.conv_general_dilated(*args, **options)

    x = some(2, 5, 6, 3)
    for own in ({"conv_general_dilated": doubled}, {"conv_general_dilated_cls": lambda: doubled}):
        for padding in ("SAME", "REFLECT", ((1, 0), 2)):
            assert_is_flax("Conv", x, features=4, kernel_size=(3, 2), padding=padding, **own)
    bfloat16 = {"promote_dtype": lambda *arrays, dtype: [a.astype(jnp.bfloat16) for a in arrays]}
    for name in ("Conv", "ConvTranspose"):
        assert_is_flax(name, x, features=4, kernel_size=(3, 2), **bfloat16)


def test_causal_padding_has_one_axis():
    with pytest.raises(ValueError, match="CAUSAL"):
        Conv(3, padding="CAUSAL").init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))


def users_model(nn):
    """A model as a user of flax writes it, by the module that `nn` stands for."""

    class UNet(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            skip = nn.relu(nn.Conv(self.width, (3, 3), padding="CIRCULAR")(x))
            x = nn.Conv(2 * self.width, kernel_size=(4, 4), strides=(2, 2), name="down")(skip)
            scale = nn.Dense(2 * self.width, use_bias=False)(x.mean((1, 2)))
            x = nn.relu(x * scale[:, None, None])
            x = nn.ConvTranspose(
                self.width, (4, 4), strides=(2, 2), padding="CIRCULAR", transpose_kernel=True
            )(x)
            x = jnp.concatenate([skip, x], axis=-1)
            x = nn.Conv(2 * self.width, (3, 3), feature_group_count=2)(x)
            return nn.Dense(1, dtype=jnp.bfloat16)(nn.LayerNorm()(x))

    return UNet(width=4)


def test_a_flax_model_of_a_users_takes_these_layers_by_its_import():
    mixed = SimpleNamespace(**vars(nn) | {name: getattr(layers, name) for name in layers.__all__})
    x = some(2, 8, 6, 3)
    ours, theirs = users_model(mixed), users_model(nn)
    variables, same = jax.jit(lambda key: (theirs.init(key, x), ours.init(key, x)))(KEY)
    jax.tree.map(np.testing.assert_array_equal, variables, same)

    def loss(params, model):
        y = model.apply({"params": params}, x)
        return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

    runs = [
        jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(
            variables["params"], model
        )
        for model in (ours, theirs)
    ]
    assert runs[0][0][1].dtype == runs[1][0][1].dtype == jnp.bfloat16
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=0.02, atol=0.02
        ),
        *runs,
    )
