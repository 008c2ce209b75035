"""Loops, branches, places and complex numbers as ONNX give what they give here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmodels.errors import InputError
from jaxmodels.pretrained.onnx_graph import converted
from jaxmodels.pretrained.programs import Program

INPUTS = {
    "x": jax.ShapeDtypeStruct((5, 3), jnp.float32),
    "i": jax.ShapeDtypeStruct((4,), jnp.int32),
}


def loops(x, i, rate):
    def advance(carried):
        number, value, seen = carried
        seen = seen.at[jnp.arange(len(value)), number].set(value[:, 0])
        return number + 1, value * rate + 0.1, seen

    def step(carry, row):
        carry = carry * rate + row
        return carry, (carry, jnp.sum(carry, axis=-1))

    start = jnp.int32(0), x[:, 0], jnp.zeros((len(x), 6))
    rows, nothing = x.swapaxes(0, 1), jnp.zeros((len(x), 3))
    return {
        "while": lax.while_loop(lambda c: (c[0] < 4) & (jnp.max(c[1]) > 0.2), advance, start),
        "scan": lax.scan(step, nothing, rows),
        "scan backwards": lax.scan(step, nothing, rows, reverse=True),
        "counted": lax.fori_loop(0, 3, lambda k, value: value * rate + k, x),
        "chosen": lax.switch(
            jnp.sum(i) % 3, [lambda: x.min(), lambda: x.max() * rate, lambda: x.sum()]
        ),
    }


def places(x, i):
    rows = jnp.arange(len(x))[:, None]
    positive = x[..., 0] > 0
    return {
        "along": jnp.take_along_axis(x, i[:, :, None], axis=1),
        "nearest": jnp.take_along_axis(x, i[:, :, None] + 3, axis=1, mode="clip"),
        "or nothing": x.at[rows, i + 3].get(mode="fill", fill_value=9.0),
        "pairs": x[rows, i, i % 3],
        "in the middle": x[:, i[0]],
        "a table's": jnp.arange(30.0).reshape(6, 5)[i],
        "windows": jax.vmap(lambda a, k: lax.dynamic_slice(a, (k, 0), (2, 3)))(x, i[:, 0]),
        "part": lax.dynamic_slice_in_dim(x, i[0, 0], 2, 1),
        "updated": lax.dynamic_update_slice(x, x[:, :2, :1] + 7, (0, i[0, 0], i[0, 1])),
        "updated rows": jax.vmap(lambda a, k: lax.dynamic_update_slice(a, a[:2] + 9, (k, 0)))(
            x, i[:, 0]
        ),
        "added": x.at[rows, i].add(1.5),
        "dropped": x.at[rows, i + 3].set(8.0, mode="drop"),
        "either": positive.at[rows, i].max(i > 2),
        "column": x.at[:, 2].set(5.0),
        "scaled": x.at[:, 1:3, 1].mul(5.0),
        "sorted": jnp.sort(x, axis=1),
        "order": jnp.argsort(-i, axis=1),
        "largest": lax.top_k(i, 3),
        "backwards": x[:, ::-1, ::-1],
    }


def numbers(x, i):
    spectrum = jnp.fft.rfft(x, axis=-1)[:, :-1]
    return {
        "real": spectrum.real,
        "imaginary": spectrum.imag,
        "even": jnp.fft.irfft(lax.complex(x, 2 * x), 4),
        "odd": jnp.fft.irfft(lax.complex(x, 2 * x), 5),
        "gelu": jax.nn.gelu(x, approximate=False) + jnp.isfinite(x / (x - x[:1])),
        "remainder": (i - 3) % 3 + lax.rem(i - 3, jnp.int32(2)),
        "remainder of a real": lax.rem(x, jnp.float32(0.3)),
        "bits": (i & 1) | 4,
    }


def complex_numbers(x, rate):
    spectrum = jnp.fft.rfft(x)
    sizes = jnp.array([0, 1e-18, 1e-3, 1, 1e15])[:, None]
    small = spectrum * sizes

    def turn(_, carried):
        phases, before = carried
        moved = phases * spectrum - rate * before
        return moved / (jnp.abs(moved) + 1e-20), phases

    ones = jnp.ones(spectrum.shape, jnp.complex64)
    turned, before = lax.fori_loop(0, 3, turn, (ones, jnp.zeros_like(ones)))
    ratios = small / (jnp.abs(small) + 1e-20)
    return {
        "sizes": jnp.abs(small) / jnp.maximum(sizes, 1e-20),
        "ratios": [ratios.real, ratios.imag],
        "turned": [turned.real, turned.imag, before.real],
        "product": (turned * small / sizes[3:].sum()).imag,
    }


def run(rate, given):
    x, i = given["x"], given["i"]
    found = {**loops(x, i, rate), **places(x, i), **numbers(x, i), **complex_numbers(x, rate)}
    leaves = jax.tree_util.tree_leaves_with_path(found)
    named = {jax.tree_util.keystr(path, simple=True, separator=" "): leaf for path, leaf in leaves}
    # Outputs of a program lead with its examples.
    return {name: jnp.broadcast_to(leaf, (len(x), *leaf.shape)) for name, leaf in named.items()}


def test_what_onnx_computes_is_what_is_computed_here():
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = converted("every", Program(run, INPUTS, {}), np.float32(0.3))
    session = runtime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    generator = np.random.default_rng(0)
    given = {
        "x": generator.normal(size=(3, 5, 3)).astype(np.float32),
        "i": generator.integers(0, 5, (3, 4)).astype(np.int32),
    }
    found = dict(zip(names, session.run(names, given), strict=True))
    wanted = jax.jit(run)(np.float32(0.3), given)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: jnp.exp(jnp.fft.rfft(x)).real, "operation 'exp' of complex numbers"),
        (lambda x: jnp.fft.fft(x).real, "operation 'fft' of the kind FFT"),
        (lambda x: lax.sort([x, x], num_keys=2)[0], "sorts in a way"),
        (lambda x: lax.cummax(x), "operation 'cummax', which the conversion does not know"),
    ],
)
def test_what_onnx_has_not_is_refused_by_its_name(function, message):
    pytest.importorskip("onnx")
    program = Program(lambda _, given: {"y": function(given["x"])}, {"x": INPUTS["x"]}, {})
    with pytest.raises(InputError, match=message):
        converted("some", program, {})
