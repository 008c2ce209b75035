"""Loading is strict, and says all that is wrong in one line before it reads."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.pretrained import Entry, Published, compare, load, read_arrays
from jaxmodels.pretrained.names import (
    CONVOLUTION,
    LEADING_ONES,
    flattened_convolution,
    fused,
    linear,
    norm,
    permuted,
    rotary_pairs,
)
from tests.pretrained.theirs import in_memory

PUBLISHED = Published(
    (
        Entry("embed.weight", ("params/embedding",)),
        *linear("layer", "layer"),
        *norm("ln", "norm"),
        Entry("qkv.weight", ("params/query", "params/key"), fused(2, transposed=True)),
        *linear("head", "head", bias=False, outside=True),
    ),
    tied={"lm_head.weight": "embed.weight"},
    ignored=(r"\.mask$",),
    prefixes=("model.", ""),
    constants={"table": np.arange(3, dtype=np.float32)},
)


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


SHAPES = {
    "params": {
        "embedding": shape(8, 4),
        "layer": {"kernel": shape(4, 6), "bias": shape(6)},
        "norm": {"scale": shape(4), "bias": shape(4)},
        "query": shape(4, 2),
        "key": shape(4, 2),
        "head": {"kernel": shape(4, 3)},
    }
}


def arrays(prefix="model."):
    sizes = {
        "embed.weight": (8, 4),
        "layer.weight": (6, 4),
        "layer.bias": (6,),
        "ln.weight": (4,),
        "ln.bias": (4,),
        "qkv.weight": (4, 4),
    }
    generator = np.random.default_rng(0)
    named = {prefix + n: generator.normal(size=s).astype(np.float32) for n, s in sizes.items()}
    return named | {"head.weight": generator.normal(size=(3, 4)).astype(np.float32)}


def error(changes, without=()):
    weights = {name: array for name, array in arrays().items() if name not in without}
    with pytest.raises(InputError) as raised:
        load(in_memory(weights | changes), PUBLISHED, SHAPES)
    message = str(raised.value)
    assert message.startswith("memory") and "\n" not in message
    return message


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_arrays_come_under_our_paths_in_our_layout(prefix):
    named = arrays(prefix)
    more = {"lm_head.weight": named[f"{prefix}embed.weight"], "a.mask": np.zeros(3, bool)}
    params = load(in_memory(named | more), PUBLISHED, SHAPES)["params"]
    np.testing.assert_array_equal(params["layer"]["kernel"], named[f"{prefix}layer.weight"].T)
    np.testing.assert_array_equal(params["query"], named[f"{prefix}qkv.weight"][:2].T)
    np.testing.assert_array_equal(params["key"], named[f"{prefix}qkv.weight"][2:].T)
    np.testing.assert_array_equal(params["head"]["kernel"], named["head.weight"].T)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, SHAPES["params"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_those_of_the_model(dtype):
    named = {name: array.astype(dtype) for name, array in arrays().items()}
    params = load(in_memory(named), PUBLISHED, SHAPES)["params"]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    scale = named["model.ln.weight"].astype(np.float32)
    np.testing.assert_array_equal(params["norm"]["scale"], scale)


def test_one_report_names_all_that_is_missing_unexpected_and_misshapen():
    changes = {
        "model.layer.weight": np.zeros((4, 6), np.float32),
        "model.new.weight": np.zeros(3),
        "model.ln.bias": np.zeros(5, np.float32),
        "head.weight": np.zeros((3, 4), np.int64),
    }
    message = error(changes, without=("model.ln.weight",))
    for told in (
        "it lacks model.ln.weight;",
        "it has unknown model.new.weight;",
        "model.layer.weight has shape (4, 6); expected (6, 4), it is transposed;",
        "model.ln.bias has shape (5,); expected (4,)",
        "head.weight has type int64; expected floats",
    ):
        assert told in message


def test_many_names_are_counted():
    message = error({f"model.x{i}": np.zeros(1) for i in range(9)})
    assert "model.x4 and 4 more" in message and "x5" not in message


def test_an_array_without_axes_or_of_others_is_misshapen():
    assert "has shape (); expected (4, 4)" in error({"model.qkv.weight": np.float32(1)})
    assert "has shape (5, 4); expected (4, 4)" in error({"model.qkv.weight": np.ones((5, 4))})


def test_a_parameter_without_a_name_is_told():
    shapes = {"params": {**SHAPES["params"], "extra": {"kernel": shape(3)}}}
    with pytest.raises(InputError, match="no published name fills, params/extra/kernel"):
        load(in_memory(arrays()), PUBLISHED, shapes)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite(number):
    bias = np.array([0, 0, number, 0], np.float32)
    assert "model.ln.bias has numbers that are not finite" in error({"model.ln.bias": bias})


def test_tied_weights_and_constants_must_be_equal():
    tied = arrays()["model.embed.weight"]
    assert "lm_head.weight differs from model.embed.weight" in error({"lm_head.weight": tied + 1})
    assert "lm_head.weight differs" in error({"lm_head.weight": tied[:1]})
    assert "model.table differs from what" in error({"model.table": np.zeros(3, np.float32)})
    table = {"model.table": np.arange(3, dtype=np.float32)}
    load(in_memory(arrays() | table), PUBLISHED, SHAPES)


def test_parts_that_fit_can_be_read_alone():
    named = arrays() | {"head.weight": np.zeros((9, 4), np.float32)}
    weights = in_memory(named)
    match = compare(weights, PUBLISHED, SHAPES)
    assert list(match.misshapen) == ["head.weight"] and not match.missing
    read = read_arrays(weights, match, SHAPES)
    assert "params/head/kernel" not in read and len(read) == 7


def test_shards_are_read_alone_and_equal_the_whole():
    sizes: list[tuple] = []

    class Watched(np.ndarray):
        def __array_finalize__(self, _):
            pass

        def __getitem__(self, index):
            part = super().__getitem__(index)
            sizes.append(part.shape)
            return part

    named = {name: array.view(Watched) for name, array in arrays().items()}
    weights = in_memory({})
    stored = in_memory(arrays())
    weights = type(weights)(
        weights.path,
        {
            name: type(one)(one.shape, one.dtype, lambda name=name: named[name])
            for name, one in stored.items()
        },
    )
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = jax.tree.map(lambda leaf: jax.P(), SHAPES)
    specs["params"]["embedding"] = jax.P("data")
    shardings = jax.tree.map(lambda spec: jax.NamedSharding(mesh, spec), specs)
    sharded = load(weights, PUBLISHED, SHAPES, shardings)
    whole = load(in_memory(arrays()), PUBLISHED, SHAPES)
    jax.tree.map(np.testing.assert_array_equal, sharded, whole)
    placed = sharded["params"]["embedding"]
    assert placed.sharding == shardings["params"]["embedding"]
    assert sizes.count((1, 4)) >= 8 and (8, 4) not in sizes


def test_a_nan_in_one_shard_is_found():
    named = arrays()
    named["model.embed.weight"][7, 3] = np.nan
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = jax.tree.map(lambda leaf: jax.P(), SHAPES)
    specs["params"]["embedding"] = jax.P("data")
    shardings = jax.tree.map(lambda spec: jax.NamedSharding(mesh, spec), specs)
    with pytest.raises(InputError, match=r"embed.weight has numbers that are not finite"):
        load(in_memory(named), PUBLISHED, SHAPES, shardings)


LAYOUTS = {
    "permuted": (permuted(2, 0, 1), (2, 3, 4), [(4, 2, 3)]),
    "convolution": (CONVOLUTION, (5, 3, 2, 4), [(2, 4, 3, 5)]),
    "fused": (fused(3, axis=1), (2, 6), [(2, 2)] * 3),
    "fused, transposed": (fused(2, transposed=True), (4, 3), [(3, 2)] * 2),
    "rotary": (rotary_pairs(2), (8, 3), [(3, 8)]),
    "rotary bias": (rotary_pairs(2, transposed=False), (8,), [(8,)]),
    "patches": (flattened_convolution(2), (5, 3, 2, 2), [(12, 5)]),
    "ones": (LEADING_ONES, (1, 1, 5), [(5,)]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_go_both_ways(name):
    layout, theirs, ours = LAYOUTS[name]
    array = np.random.default_rng(0).normal(size=theirs)
    inward = layout.inward(array)
    assert [part.shape for part in inward] == ours
    np.testing.assert_array_equal(layout.outward(*inward), array)


def test_rotary_pairs_stand_side_by_side_in_gguf():
    rows = np.arange(8).reshape(8, 1)  # two heads of 4: pairs (0, 1), (2, 3) of each
    ((ours,),) = rotary_pairs(2).inward(rows)
    assert ours.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
