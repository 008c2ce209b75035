"""What convolutions lower to: by platform, under `vmap`, and over devices."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmodels.ops import conv, cpu_compiler_options
from tests.ops.compiling import quick_jit, quick_options
from tests.ops.convolution_cases import GROUPED, LARGE, SMALL, Case, lowered, operations

pytestmark = pytest.mark.lowering


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_makes_no_groups_on_a_cpu_and_one_convolution_elsewhere(axes):
    arrays = [
        array if axis is None else jnp.stack([array] * 3)
        for array, axis in zip(SMALL[0].arrays(), axes, strict=True)
    ]

    def gradients(*args):
        def total(*args):
            return jnp.sum(jnp.sin(jax.vmap(SMALL[0].ours(), axes)(*args)))

        return jax.grad(total, (0, 1))(*args)

    on_cpu, on_gpu = (lowered(gradients, platform, *arrays) for platform in ("cpu", "cuda"))
    assert "stablehlo.convolution" in on_cpu
    assert on_cpu.count("group_count = 1 ") == 2 * on_cpu.count("stablehlo.convolution(")
    assert on_gpu.count("stablehlo.convolution(") == 3
    assert "stablehlo.while" not in on_gpu


@pytest.mark.parametrize(
    "case", SMALL + GROUPED, ids=["conv", "conv_transpose", "grouped", "depthwise_transpose"]
)
@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_accelerators_get_native_convolutions(case, platform):
    args = case.arrays()

    def loss(x, kernel):
        return jnp.sum(jnp.sin(case.ours()(x, kernel)))

    programs = [(case.ours(), 1)]
    programs += [(jax.grad(loss, argument), 2) for argument in (0, 1)]
    programs += [(jax.grad(lambda *args: jnp.sum(jax.grad(loss)(*args) ** 2), 1), 3)]
    for program, at_least in programs:
        text = lowered(program, platform, *args)
        assert text.count("stablehlo.convolution") >= at_least
        assert "dot_general" not in text


@pytest.mark.parametrize(
    "case",
    [
        SMALL[0],
        SMALL[1],
        Case(False, (4, 4), (3, 3), (1, 1), "SAME", (8, 8)),
        Case(False, (8, 8), (3, 3), (1, 1), "SAME", (8, 8), groups=4),
        Case(False, (2, 2), (3, 3), (1, 1), "SAME", (8, 8)),
    ],
    ids=["strided", "transposed", "unit", "groups", "large_kernel"],
)
def test_cpu_gets_plain_forward_convolutions(case):
    """Any other order of axes, inputs spread out, groups, or a kernel larger than what it slides
    over, XLA runs through its slow generic form."""
    x, kernel = case.arrays()
    value, pull = jax.vjp(case.ours(), x, kernel)
    programs = [(case.ours(), (x, kernel))]
    programs += [(lambda g, n=argument: pull(g)[n], (value,)) for argument in (0, 1)]
    convolutions = 0
    for program, args in programs:
        for line in lowered(program, "cpu", *args).splitlines():
            if "stablehlo.convolution(" not in line:
                continue
            convolutions += 1
            assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line
            assert "lhs_dilate = [1, 1]" in line and "feature_group_count = 1 " in line
            shapes = re.findall(r"tensor<(?:(\d+)x(\d+)x(\d+)x(\d+))", line)
            (_, *image, _), (*window, _, _), _ = [tuple(map(int, shape)) for shape in shapes]
            assert np.prod(window) <= np.prod(image)
    assert convolutions >= 2


def test_cpu_runs_one_by_one_kernels_and_few_channels_as_matrix_products():
    one_by_one = Case(False, (4, 4), (1, 1), (2, 2), "VALID", (8, 8))
    grey = Case(False, (4, 4), (3, 3), (1, 1), "SAME", (1, 8))
    x, kernel = one_by_one.arrays()
    value, pull = jax.vjp(one_by_one.ours(), x, kernel)
    assert operations(lambda g: pull(g)[1], value) == {"dot_general"}
    x, kernel = grey.arrays()
    assert operations(grey.ours(), x, kernel) == {"dot_general"}
    value, pull = jax.vjp(grey.ours(), x, kernel)
    assert operations(lambda g: pull(g)[0], value) == {"dot_general"}


@pytest.mark.parametrize(
    "case",
    [
        Case(False, (6, 6), (3, 3), (1, 1), "SAME", (8, 16), 128),
        Case(False, (6, 6), (3, 3), (2, 2), "SAME", (1, 16), 128),
        Case(False, (3, 3), (7, 7), (2, 2), "SAME", (16, 4), 128),
        Case(False, (6, 6), (3, 3), (1, 1), "SAME", (4, 4), 128, groups=4),
        Case(True, (3, 3), (4, 4), (2, 2), "SAME", (16, 8), 128),
        *LARGE,
    ],
    ids=["unit", "grey", "large_kernel", "groups", "transpose", "3x3", "strided", "way_back"],
)
def test_a_batch_over_devices_is_not_gathered(case):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    over, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    def step(x, kernel):
        loss = lambda x, kernel: jnp.sum(jnp.sin(case.ours()(x, kernel)))  # noqa: E731
        return jax.value_and_grad(loss, (0, 1))(x, kernel)

    x, kernel = case.arrays()
    shardings = {"in_shardings": (over, whole), "out_shardings": (whole, (over, whole))}
    compiled = jax.jit(step, **shardings).lower(x, kernel).compile(quick_options())
    collectives = re.findall(r"all-\w+|collective-permute|reduce-scatter", compiled.as_text())
    assert set(collectives) == {"all-reduce"}
    out, expected = compiled(x, kernel), quick_jit(step)(x, kernel)
    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3)
    jax.tree.map(near, out, expected)


def test_gradients_inside_shard_map_are_summed_over_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x, kernel = Case(False, (4, 4), (3, 3), (2, 2), "SAME", (3, 5), 16).arrays()

    def gradients(x, kernel):
        return jax.grad(lambda *args: jnp.sum(jnp.sin(conv(*args, 2))), (0, 1))(x, kernel)

    each = jax.shard_map(
        gradients, mesh=mesh, in_specs=(P("data"), P()), out_specs=(P("data"), P())
    )
    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(near, quick_jit(each)(x, kernel), quick_jit(gradients)(x, kernel))


def test_cpu_compiler_options_are_taken_by_this_xla():
    x, kernel = Case(False, (6, 6), (3, 3), (1, 1), "SAME", (8, 8)).arrays()
    options = cpu_compiler_options()
    assert options
    with_options = jax.jit(conv, compiler_options=options)(x, kernel)
    np.testing.assert_allclose(with_options, jax.jit(conv)(x, kernel), rtol=1e-5, atol=1e-5)


def test_an_environment_variable_gives_a_cpu_native_convolutions(monkeypatch):
    x, kernel = LARGE[0].arrays()
    assert "stablehlo.convolution" not in lowered(LARGE[0].ours(), "cpu", x, kernel)
    monkeypatch.setenv("JAXMODELS_NATIVE_CONVOLUTIONS", "1")
    assert "stablehlo.convolution" in lowered(LARGE[0].ours(), "cpu", x, kernel)


def test_a_second_eager_call_does_not_compile():
    x, kernel = Case(False, (5, 5), (3, 3), (1, 1), "SAME", (3, 4)).arrays()
    conv(x, kernel)
    with jax.no_tracing():
        conv(x, kernel)
