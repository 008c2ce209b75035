"""Convolutions against `jax.lax`: values, derivatives of two orders and vmap.

The sweeps run the CPU rules; the native ones, which GPU and TPU get, are called directly.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxmodels.ops import conv, conv_transpose
from jaxmodels.ops import convolution_native as native
from jaxmodels.ops import convolution_winograd as winograd
from tests.ops.compiling import quick_jit
from tests.ops.convolution_cases import GROUPED, LARGE, SMALL, Case, operations

# The fixture holds for the whole test, so every example may share it.
sweep = partial(
    settings,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def _pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw, largest_kernel=4, transpose=None):
    case = Case(
        transpose=draw(st.booleans()) if transpose is None else transpose,
        size=draw(_pairs(1, 7)),
        kernel=draw(_pairs(1, largest_kernel)),
        strides=draw(_pairs(1, 4)),
        padding=draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(_pairs(-1, 3), _pairs(-1, 3))),
        channels=(draw(st.sampled_from([1, 2, 4, 5])), draw(st.sampled_from([1, 4, 5, 8]))),
        batch=draw(st.integers(1, 2)),
        dilation=draw(st.just((1, 1)) | _pairs(1, 3)),
        groups=draw(st.sampled_from([1, 1, 2, 6])),
    )
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in case.arrays()]
    try:
        assume(0 not in jax.eval_shape(case.reference(), *shapes).shape)
    except ValueError:  # lax refuses an output of negative size
        assume(False)
    return case


def _first_order(function, x, kernel):
    value, pull = jax.vjp(function, x, kernel)
    cotangent = jnp.sin(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
    tangents = jnp.cos(x), jnp.cos(kernel)
    return value, pull(cotangent), jax.jvp(function, (x, kernel), tangents)[1]


def _second_order(function, x, kernel):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(function(x, kernel)))

    gradients = jax.grad(loss, (0, 1))

    def penalty(x, kernel):
        return sum(jnp.sum(g**2) for g in gradients(x, kernel))

    forward_over_reverse = jax.jvp(gradients, (x, kernel), (jnp.cos(x), jnp.cos(kernel)))[1]
    return jax.grad(penalty, (0, 1))(x, kernel), forward_over_reverse


def _compare(case, order):
    ours, reference = quick_jit(
        lambda x, k: tuple(order(f, x, k) for f in (case.ours(), case.reference()))
    )(*case.arrays())
    jax.tree.map(close, ours, reference)


@pytest.mark.usefixtures("float64")
@sweep(max_examples=20)
@given(cases())
@example(Case(False, (5, 6), (1, 1), (3, 2), "SAME", (3, 5)))  # strides above the kernel
@example(Case(False, (6, 5), (2, 2), (4, 3), "VALID", (8, 4)))  # a remainder nobody reads
@example(Case(False, (7, 4), (2, 4), (1, 1), "SAME", (5, 8)))  # even kernels
@example(Case(False, (6, 6), (3, 3), (2, 2), ((-1, 0), (0, -2)), (8, 5)))  # crops
@example(Case(True, (3, 4), (1, 2), (3, 4), "SAME", (4, 3)))
@example(Case(True, (3, 2), (2, 3), (4, 2), "VALID", (8, 5)))
@example(Case(True, (4, 4), (2, 2), (2, 1), ((3, 0), (-1, 2)), (5, 4)))  # crops, from 3 > 2 - 1
@example(Case(True, (3, 3), (4, 4), (2, 2), "SAME", (9, 8)))
@example(Case(False, (1, 2), (3, 3), (1, 1), "SAME", (4, 5)))  # a kernel larger than the image
@example(Case(False, (4, 4), (3, 3), (1, 1), ((2, 2), (2, 2)), (4, 8)))  # an output larger
@example(Case(False, (7, 7), (3, 3), (4, 6), "SAME", (9, 3), dilation=(6, 4)))  # common divisor 2
@example(Case(False, (5, 4), (3, 3), (2, 1), "SAME", (1, 1), groups=6))  # depthwise
@example(Case(False, (5, 4), (3, 3), (2, 1), "SAME", (1, 2), groups=36))  # two bundles
@example(Case(True, (3, 4), (3, 3), (2, 2), "SAME", (1, 1), groups=6, dilation=(2, 1)))
def test_values_and_gradients_equal_lax(case):
    _compare(case, _first_order)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@sweep(max_examples=5)
@given(cases(largest_kernel=3))
@example(Case(False, (5, 4), (3, 3), (2, 2), "SAME", (8, 5)))
@example(Case(False, (4, 5), (2, 3), (1, 1), "VALID", (3, 4)))
@example(Case(True, (3, 2), (3, 2), (2, 1), "SAME", (8, 5)))
@example(Case(False, (5, 4), (3, 3), (2, 1), "SAME", (1, 1), groups=6, dilation=(1, 2)))
@example(Case(True, (3, 3), (3, 3), (2, 2), "SAME", (3, 2), groups=2))
def test_second_derivatives_equal_lax(case):
    _compare(case, _second_order)


@pytest.mark.usefixtures("float64")
@sweep(max_examples=10)
@given(cases(transpose=False))
@example(Case(False, (5, 6), (2, 3), (3, 1), "SAME", (8, 4)))
def test_native_forms_equal_lax(case):
    """What GPU and TPU lower to, here run on the CPU as ordinary functions."""
    x, kernel = case.arrays()
    reference = case.reference()
    padding = case.padding
    if isinstance(padding, str):
        size = [(k - 1) * d + 1 for k, d in zip(case.kernel, case.dilation, strict=True)]
        padding = lax.padtype_to_pads(case.size, size, case.strides, padding)
    geometry = native.Geometry(case.strides, tuple(padding), case.dilation, case.groups)

    @quick_jit
    def both(x, kernel):
        y, pull = jax.vjp(reference, x, kernel)
        ours = (
            native.convolve(x, kernel, geometry),
            native.input_gradient(y, kernel, geometry, case.size),
            native.kernel_gradient(x, y, geometry, case.kernel),
        )
        return ours, (y, *pull(y))

    jax.tree.map(close, *both(x, kernel))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@sweep(max_examples=10)
@given(cases(largest_kernel=3, transpose=False), st.sampled_from([1, 2]))
@example(Case(False, (7, 9), (3, 3), (1, 1), "SAME", (3, 2)), 1)
@example(Case(False, (1, 2), (3, 2), (1, 1), ((1, 1), (0, 3)), (3, 2)), 1)  # tiles of one output
@example(Case(False, (7, 7), (2, 2), (2, 2), ((1, 2), (1, 2)), (3, 2)), 2)
@example(Case(False, (9, 6), (1, 2), (2, 2), ((-1, 1), (2, -1)), (3, 2)), 2)
def test_tiles_equal_lax(case, stride):
    """By fewer products, kernels `stride` times as large at that stride."""
    strides, size = (stride, stride), tuple(stride * k for k in case.kernel)
    case = case._replace(kernel=size, strides=strides, dilation=(1, 1), groups=1)
    x, kernel = case.arrays()
    padding = case.padding
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(case.size, size, strides, padding)
    geometry = native.Geometry(strides, tuple(map(tuple, padding)))
    assume(all(n > 0 for n in jax.eval_shape(case.reference(), x, kernel).shape))

    @quick_jit
    def both(x, kernel):
        y, pull = jax.vjp(lambda *args: native.convolve(*args, geometry), x, kernel)
        to_x, to_kernel = pull(y)
        pads = geometry.padding
        ours = [
            winograd.convolve(x, kernel, pads, strides),
            winograd.input_gradient(y, kernel, pads, strides, case.size),
        ]
        expected = [y, to_x]
        if stride == 1:
            ours.append(winograd.kernel_gradient(x, y, pads, size))
            expected.append(to_kernel)
        return ours, expected

    jax.tree.map(close, *both(x, kernel))


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE, ids=["unit", "strided", "transposed"])
def test_large_kernels_round_a_few_times_as_much_and_highest_precision_does_not(case):
    x, kernel = (array.astype(jnp.float32) for array in case.arrays())
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(array), jnp.float64) for array in (x, kernel)]
        reference = jax.jit(partial(_first_order, case.reference()))
        exact = jax.tree.map(np.asarray, reference(*wide))

    def errors(function):
        result = jax.jit(partial(_first_order, function))(x, kernel)
        return [
            np.sqrt(np.mean((ours - best) ** 2))
            for ours, best in zip(jax.tree.leaves(result), jax.tree.leaves(exact), strict=True)
        ]

    function = conv_transpose if case.transpose else conv

    def careful(x, kernel):
        return function(x, kernel, case.strides, case.padding, precision="highest")

    plain = errors(case.reference())
    assert np.all(np.array(errors(case.ours())) < 5 * np.array(plain))
    assert np.all(np.array(errors(careful)) < 2.5 * np.array(plain))
    assert operations(case.ours(), x, kernel) == {"dot_general"}
    assert operations(careful, x, kernel) == {"stablehlo.convolution"}
    half = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    assert operations(case.ours(), *half) == {"stablehlo.convolution"}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("function", [conv, conv_transpose])
@pytest.mark.parametrize(
    "options", [{}, {"padding": "VALID", "kernel_dilation": 2}, {"padding": [(3, -1)], "groups": 2}]
)
def test_one_dimension_equals_lax(function, options):
    """Against lax in one dimension."""
    generator = np.random.default_rng(0)
    x, kernel = generator.normal(size=(2, 9, 4)), generator.normal(size=(3, 4, 6))
    groups, dilation = options.get("groups", 1), options.get("kernel_dilation", 1)
    kernel = kernel[:, : 4 // groups]

    def reference(x, kernel):
        lax_options = {"rhs_dilation": (dilation,), "dimension_numbers": ("NWC", "WIO", "NWC")}
        padding = options.get("padding", "SAME")
        if function is conv:
            lax_options["feature_group_count"] = groups
            return lax.conv_general_dilated(x, kernel, (2,), padding, **lax_options)
        parts = zip(*(jnp.split(array, groups, axis=-1) for array in (x, kernel)), strict=True)
        y = [lax.conv_transpose(*part, (2,), padding, **lax_options) for part in parts]
        return jnp.concatenate(y, axis=-1)

    def ours(x, kernel):
        return function(x, kernel, 2, **options)

    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    both = quick_jit(lambda *args: [_first_order(f, *args) for f in (ours, reference)])
    jax.tree.map(close, *both(x, kernel))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("case", "axes"),
    # Each case under vmap over either operand and over both; axes in front and further back.
    [
        *itertools.product((SMALL[0], GROUPED[0]), [(0, None), (None, 4), (1, 3)]),
        *itertools.product((SMALL[1], GROUPED[1]), [(2, None), (None, 0), (0, 0)]),
    ],
)
def test_vmap_equals_one_after_another(case, axes):
    members = 3
    scales = np.arange(1.0, members + 1)
    stacks = [
        [np.sin(array * scale) for scale in scales] if axis is not None else [array] * members
        for array, axis in zip(map(np.asarray, case.arrays()), axes, strict=True)
    ]
    args = [
        np.stack(stack, axis) if axis is not None else stack[0]
        for stack, axis in zip(stacks, axes, strict=True)
    ]
    first_order = partial(_first_order, case.ours())

    def loss(function, *args):
        return jnp.sum(jnp.sin(jax.vmap(function, axes)(*args)))

    @quick_jit
    def mapped(*args):
        # The gradient through vmap sums over the members of an operand that they share.
        gradients = [
            jax.grad(partial(loss, function), (0, 1))(*args)
            for function in (case.ours(), case.reference())
        ]
        return jax.vmap(first_order, axes)(*args), *gradients

    together, gradient, expected = mapped(*args)
    alone = quick_jit(first_order)
    one_by_one = [alone(*pair) for pair in zip(*stacks, strict=True)]
    jax.tree.map(close, together, jax.tree.map(lambda *leaves: np.stack(leaves), *one_by_one))
    jax.tree.map(close, gradient, expected)


@pytest.mark.usefixtures("float64")
def test_vmap_of_vmap_equals_one_after_another():
    case = SMALL[0]
    x, kernel = case.arrays()
    xs = np.stack([np.sin(np.asarray(x) * scale) for scale in (1.0, 2.0, 3.0)])
    kernels = np.stack([np.cos(np.asarray(kernel) * scale) for scale in (1.0, 2.0)])
    grid = jax.vmap(jax.vmap(case.ours(), (None, 0)), (0, None))
    twice = jax.vmap(jax.vmap(case.ours()), (0, None))
    alone = quick_jit(case.ours())
    for x, y in zip(xs, quick_jit(grid)(xs, kernels), strict=True):
        for kernel, together in zip(kernels, y, strict=True):
            close(together, alone(x, kernel))
    pairs = np.stack([xs[:2], xs[1:]])
    once = quick_jit(jax.vmap(case.ours()))
    close(quick_jit(twice)(pairs, kernels), np.stack([once(pair, kernels) for pair in pairs]))


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_bad_input_raises_value_error(function):
    x, kernel = jnp.ones((1, 4, 4, 3)), jnp.ones((2, 2, 3, 5))
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\).*\(2, 2, 4, 5\)"):
        function(x, jnp.ones((2, 2, 4, 5)))
    with pytest.raises(ValueError, match="expected"):
        function(x[0], kernel)
    with pytest.raises(ValueError, match="groups 3"):
        function(x, jnp.ones((2, 2, 1, 5)), groups=3)
    with pytest.raises(ValueError, match="'NEAR'; expected 'SAME'"):
        function(x, kernel, padding="NEAR")
    with pytest.raises(ValueError, match="larger than the padded input"):
        function(x, kernel, padding=-3)


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_int_and_lower_case_arguments(function):
    x, kernel = Case(False, (5, 5), (3, 3), (1, 1), "SAME", (3, 4)).arrays()
    np.testing.assert_array_equal(
        function(x, kernel, 2, 1), function(x, kernel, (2, 2), ((1, 1), (1, 1)))
    )
    np.testing.assert_array_equal(
        function(x, kernel, padding="same"), function(x, kernel, padding="SAME")
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL + GROUPED + [Case(False, (4, 4), (3, 3), 2, "SAME", (1, 8))])
def test_half_precision_keeps_its_type_and_rounds_once(case):
    case = case._replace(strides=(2, 2))
    x, kernel = (np.asarray(array).astype(jnp.bfloat16) for array in case.arrays())
    first_order = quick_jit(partial(_first_order, case.ours()))
    half = first_order(x, kernel)
    wide = first_order(x.astype(np.float32), kernel.astype(np.float32))
    for ours, exact in zip(jax.tree.leaves(half), jax.tree.leaves(wide), strict=True):
        assert ours.dtype == jnp.bfloat16
        # The cotangent is rounded, too: twice half of the distance between two numbers.
        ours, exact = np.asarray(ours).astype(np.float32), np.asarray(exact)
        scale = np.max(np.abs(exact))
        np.testing.assert_allclose(ours / scale, exact / scale, atol=2**-7)
