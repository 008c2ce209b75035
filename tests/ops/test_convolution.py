"""Convolutions against `jax.lax`: values, derivatives of two orders, vmap and what they lower to.

The sweeps run the CPU rules; the native ones, which GPU and TPU get, are called directly.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxmodels.ops import conv, conv_transpose, convolution

NHWC = ("NHWC", "HWIO", "NHWC")
# The fixture holds for the whole test, so every example may share it.
sweep = partial(
    settings,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


class Case(NamedTuple):
    transpose: bool
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: str | tuple[tuple[int, int], tuple[int, int]]
    channels: tuple[int, int]  # the CPU rules change at 8 inputs (kernel) and above 4 (input)
    batch: int = 2

    def ours(self):
        function = conv_transpose if self.transpose else conv
        return lambda x, k: function(x, k, self.strides, self.padding)

    def reference(self):
        if self.transpose:
            return lambda x, k: lax.conv_transpose(
                x, k, self.strides, self.padding, dimension_numbers=NHWC
            )
        return lambda x, k: lax.conv_general_dilated(
            x, k, self.strides, self.padding, dimension_numbers=NHWC
        )

    def arrays(self):
        generator = np.random.default_rng(0)
        x = generator.normal(size=(self.batch, *self.size, self.channels[0]))
        return jnp.asarray(x), jnp.asarray(generator.normal(size=(*self.kernel, *self.channels)))


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
        channels=(draw(st.sampled_from([1, 4, 5, 8])), draw(st.sampled_from([1, 4, 5, 8]))),
        batch=draw(st.integers(1, 2)),
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
    ours, reference = jax.jit(
        lambda x, k: tuple(order(f, x, k) for f in (case.ours(), case.reference()))
    )(*case.arrays())
    jax.tree.map(close, ours, reference)


@pytest.mark.usefixtures("float64")
@sweep(max_examples=30)
@given(cases())
@example(Case(False, (5, 6), (1, 1), (3, 2), "SAME", (3, 5)))  # strides above the kernel
@example(Case(False, (6, 5), (2, 2), (4, 3), "VALID", (8, 4)))  # a remainder nobody reads
@example(Case(False, (7, 4), (2, 4), (1, 1), "SAME", (5, 8)))  # even kernels
@example(Case(False, (6, 6), (3, 3), (2, 2), ((-1, 0), (0, -2)), (8, 5)))  # crops
@example(Case(True, (3, 4), (1, 2), (3, 4), "SAME", (4, 3)))
@example(Case(True, (3, 2), (2, 3), (4, 2), "VALID", (8, 5)))
@example(Case(True, (4, 4), (2, 2), (2, 1), ((3, 0), (-1, 2)), (5, 4)))  # crops, from 3 > 2 - 1
@example(Case(True, (3, 3), (4, 4), (2, 2), "SAME", (9, 8)))
def test_values_and_gradients_equal_lax(case):
    _compare(case, _first_order)


@pytest.mark.usefixtures("float64")
@sweep(max_examples=8)
@given(cases(largest_kernel=3))
@example(Case(False, (5, 4), (3, 3), (2, 2), "SAME", (8, 5)))
@example(Case(False, (4, 5), (2, 3), (1, 1), "VALID", (3, 4)))
@example(Case(True, (3, 2), (3, 2), (2, 1), "SAME", (8, 5)))
def test_second_derivatives_equal_lax(case):
    _compare(case, _second_order)


@pytest.mark.usefixtures("float64")
@sweep(max_examples=15)
@given(cases(transpose=False))
@example(Case(False, (5, 6), (2, 3), (3, 1), "SAME", (8, 4)))
def test_native_forms_equal_lax(case):
    """What GPU and TPU lower to, here run on the CPU as ordinary functions."""
    x, kernel = case.arrays()
    reference = case.reference()
    padding = case.padding
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(case.size, case.kernel, case.strides, padding)
    geometry = {"strides": case.strides, "padding": tuple(padding)}

    @jax.jit
    def both(x, kernel):
        y, pull = jax.vjp(reference, x, kernel)
        ours = (
            convolution._native_convolve(x, kernel, **geometry),
            convolution._native_input_gradient(y, kernel, **geometry, in_size=case.size),
            convolution._native_kernel_gradient(x, y, **geometry, kernel_size=case.kernel),
        )
        return ours, (y, *pull(y))

    jax.tree.map(close, *both(x, kernel))


SMALL = [
    Case(False, (4, 5), (3, 2), (2, 1), "SAME", (3, 5)),
    Case(True, (2, 3), (2, 3), (2, 1), "SAME", (8, 4)),
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", SMALL, ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("axes", [(0, None), (2, None), (None, 0), (None, 4), (0, 0), (1, 3)])
def test_vmap_equals_one_after_another(case, axes):
    members = 3
    scales = jnp.arange(1.0, members + 1)
    stacks = [
        [jnp.sin(array * scale) for scale in scales] if axis is not None else [array] * members
        for array, axis in zip(case.arrays(), axes, strict=True)
    ]
    args = [
        jnp.stack(stack, axis) if axis is not None else stack[0]
        for stack, axis in zip(stacks, axes, strict=True)
    ]
    first_order = partial(_first_order, case.ours())
    together = jax.jit(jax.vmap(first_order, axes))(*args)
    alone = jax.jit(first_order)
    one_by_one = [alone(*pair) for pair in zip(*stacks, strict=True)]
    jax.tree.map(close, together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one))
    # And the gradient through vmap, where an operand that all members share sums over them.
    summed = jax.jit(
        jax.grad(lambda *args: jnp.sum(jnp.sin(jax.vmap(case.ours(), axes)(*args))), (0, 1))
    )(*args)
    expected = jax.jit(
        jax.grad(lambda *args: jnp.sum(jnp.sin(jax.vmap(case.reference(), axes)(*args))), (0, 1))
    )(*args)
    jax.tree.map(close, summed, expected)


def _lowered(function, platform, *args):
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("case", SMALL, ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_accelerators_get_native_convolutions(case, platform):
    args = case.arrays()

    def loss(x, kernel):
        return jnp.sum(jnp.sin(case.ours()(x, kernel)))

    programs = [(case.ours(), 1)]
    programs += [(jax.grad(loss, argument), 2) for argument in (0, 1)]
    programs += [(jax.grad(lambda *args: jnp.sum(jax.grad(loss)(*args) ** 2), 1), 3)]
    for program, at_least in programs:
        text = _lowered(program, platform, *args)
        assert text.count("stablehlo.convolution") >= at_least
        assert "dot_general" not in text


def test_cpu_gets_its_own_forms_of_gradients():
    """Strides: matrix products. Unit strides and many channels: forward convolutions of others."""
    wide = Case(False, (4, 4), (3, 3), (1, 1), "SAME", (8, 8))
    for case, gradient in ((SMALL[0], "dot_general"), (wide, "stablehlo.convolution")):
        x, kernel = case.arrays()
        value, pull = jax.vjp(case.ours(), x, kernel)
        assert _operations(case.ours(), x, kernel) == {"stablehlo.convolution"}
        for argument in (0, 1):
            pulled = lambda g, pull=pull, n=argument: pull(g)[n]  # noqa: E731
            assert _operations(pulled, value) == {gradient}
            # Any other order of axes, and any dilation, XLA runs through its slow generic form.
            text = _lowered(pulled, "cpu", value)
            plain = text.count("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]")
            assert (
                text.count("stablehlo.convolution") == plain == text.count("_dilate = [1, 1]") / 2
            )


def test_cpu_compiler_options_are_taken_by_this_xla():
    x, kernel = Case(False, (6, 6), (3, 3), (1, 1), "SAME", (8, 8)).arrays()
    options = convolution.cpu_compiler_options()
    assert options
    with_options = jax.jit(conv, compiler_options=options)(x, kernel)
    np.testing.assert_allclose(with_options, jax.jit(conv)(x, kernel), rtol=1e-5, atol=1e-5)


def _operations(function, *args):
    text = _lowered(function, "cpu", *args)
    return {name for name in ("stablehlo.convolution", "dot_general") if name in text}


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_bad_input_raises_value_error(function):
    x, kernel = jnp.ones((1, 4, 4, 3)), jnp.ones((2, 2, 3, 5))
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\).*\(2, 2, 4, 5\)"):
        function(x, jnp.ones((2, 2, 4, 5)))
    with pytest.raises(ValueError, match="expected"):
        function(x[0], kernel)
    with pytest.raises(ValueError, match="'NEAR'; expected 'SAME'"):
        function(x, kernel, padding="NEAR")


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_int_and_lower_case_arguments(function):
    x, kernel = Case(False, (5, 5), (3, 3), (1, 1), "SAME", (3, 4)).arrays()
    np.testing.assert_array_equal(
        function(x, kernel, 2, 1), function(x, kernel, (2, 2), ((1, 1), (1, 1)))
    )
    np.testing.assert_array_equal(
        function(x, kernel, padding="same"), function(x, kernel, padding="SAME")
    )


def test_a_second_eager_call_does_not_compile():
    x, kernel = Case(False, (5, 5), (3, 3), (1, 1), "SAME", (3, 4)).arrays()
    conv(x, kernel)
    with jax.no_tracing():
        conv(x, kernel)


def test_half_precision_keeps_its_type():
    x, kernel = (array.astype(jnp.bfloat16) for array in SMALL[0].arrays())
    gradients = jax.grad(lambda *args: conv(*args).astype(jnp.float32).sum(), (0, 1))(x, kernel)
    assert [g.dtype for g in (conv(x, kernel), *gradients)] == [jnp.bfloat16] * 3
