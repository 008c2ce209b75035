"""Attention: its kinds equal each other, and what must not be seen changes no bit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.models.layers import attention as layer
from jaxmodels.models.layers.attention import (
    Cache,
    assert_uses,
    attention,
    attention_kind,
    cached_attention,
)
from jaxmodels.models.layers.fused_attention import splash_attention
from jaxmodels.models.layers.masks import positions_in_documents
from tests.ops.compiling import quick_jit

BATCH, LENGTH, HEADS, GROUPS, SIZE = 2, 12, 4, 2, 8


def arrays(length=LENGTH, dtype=np.float32, groups=GROUPS, size=SIZE):
    generator = np.random.default_rng(0)
    heads = (HEADS, groups, groups)
    return [jnp.asarray(generator.normal(size=(BATCH, length, n, size)), dtype) for n in heads]


def reference(query, key, value, seen, scale):
    """Attention row by row in float64; seen(batch, query, key) says what is visible."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros_like(query)
    group = query.shape[2] // key.shape[2]
    for b, q, h in np.ndindex(*query.shape[:3]):
        keys = [k for k in range(key.shape[1]) if seen(b, q, k)]
        if keys:
            scores = scale * key[b, keys, h // group] @ query[b, q, h]
            weights = np.exp(scores - scores.max())
            out[b, q, h] = weights / weights.sum() @ value[b, keys, h // group]
    return out


DOCUMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6]])
VALID = np.arange(LENGTH) < np.array([[12], [7]])


@pytest.mark.parametrize("kind", ["einsum", "blocks"])
@pytest.mark.parametrize(("window", "documents"), [(0, False), (3, False), (0, True), (5, True)])
def test_causal_attention_equals_the_definition(kind, window, documents, monkeypatch):
    monkeypatch.setattr(layer, "_BLOCK", 5)
    given = jnp.asarray(DOCUMENTS) if documents else None
    out = quick_jit(partial(attention, kind=kind, window=window, scale=0.7))(
        *arrays(), documents=given
    )

    def seen(b, q, k):
        inside = not documents or DOCUMENTS[b, q] == DOCUMENTS[b, k]
        return k <= q and (not window or q - k < window) and inside

    np.testing.assert_allclose(out, reference(*arrays(), seen, 0.7), rtol=1e-5, atol=1e-6)


def test_attention_to_padding_is_none_and_rows_without_a_key_are_zero():
    valid = jnp.asarray(VALID & np.array([[True], [False]]))
    compute = quick_jit(partial(attention, causal=False))
    expected = reference(*arrays(), lambda b, q, k: VALID[b, k], SIZE**-0.5)
    np.testing.assert_allclose(
        compute(*arrays(), valid=jnp.asarray(VALID)), expected, rtol=1e-5, atol=1e-6
    )

    def total(*inputs):
        out = attention(*inputs, causal=False, valid=valid)
        return jnp.sum(out**2), out

    gradients, out = quick_jit(jax.grad(total, (0, 1, 2), has_aux=True))(*arrays())
    assert not out[1].any()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kind", ["einsum", "blocks"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_must_not_be_seen_changes_no_bit(kind, dtype, monkeypatch):
    monkeypatch.setattr(layer, "_BLOCK", 5)
    query, key, value = map(np.asarray, arrays(dtype=dtype))
    compute = quick_jit(partial(attention, kind=kind, window=4))
    before = compute(query, key, value, documents=DOCUMENTS)
    for planted in range(LENGTH):
        keys, values = key.copy(), value.copy()
        keys[:, planted], values[:, planted] = 100, -100
        after = compute(query, keys, values, documents=DOCUMENTS)
        places = np.arange(LENGTH)
        sees = (planted <= places) & (places - planted < 4)
        sees = sees & (DOCUMENTS[:, planted : planted + 1] == DOCUMENTS)
        changed = (np.asarray(before) != np.asarray(after)).any((2, 3))
        np.testing.assert_array_equal(changed, sees)


def test_blocks_have_the_gradients_of_einsum(monkeypatch):
    monkeypatch.setattr(layer, "_BLOCK", 5)

    def gradients(kind):
        def loss(*inputs):
            return jnp.sum(jnp.sin(attention(*inputs, kind=kind, window=7)))

        return quick_jit(jax.grad(loss, (0, 1, 2)))(*arrays())

    for ours, plain in zip(gradients("blocks"), gradients("einsum"), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [0, 4])
def test_a_cache_gives_what_the_full_pass_gives(window):
    full = quick_jit(partial(attention, window=window))(*arrays())
    step = quick_jit(partial(cached_attention, window=window))
    inputs = [np.asarray(x) for x in arrays()]
    cache = Cache.empty(BATCH, 15, GROUPS, SIZE, jnp.float32)
    # Row 1 is shorter by 2: what is written there as padding is written anew.
    starts, outputs = np.array([0, 0], np.int32), []
    for new in (5, 1, 1, 1):
        places = starts[:, None] + np.arange(new)
        out, cache = step(*(x[np.arange(BATCH)[:, None], places] for x in inputs), cache, starts)
        outputs.append((out, places))
        starts = starts + (np.array([5, 3], np.int32) if new == 5 else np.int32(1))
    for out, places in outputs:
        for row in range(BATCH):
            expected = np.asarray(full)[row, places[row]]
            np.testing.assert_allclose(out[row], expected, rtol=1e-5, atol=1e-6)


def test_kinds_are_chosen_by_backend_type_and_shape():
    choose = partial(attention_kind, length=1024, head_size=64)
    assert choose("cuda", jnp.bfloat16) == "cudnn"
    assert choose("cuda", jnp.float32) == "einsum"
    assert choose("rocm", jnp.bfloat16) == "einsum"
    assert choose("cuda", jnp.bfloat16, dropout=True) == "einsum"
    assert attention_kind("cuda", jnp.bfloat16, length=1024, head_size=160) == "einsum"
    assert attention_kind("cuda", jnp.bfloat16, length=1023, head_size=64) == "einsum"
    assert choose("tpu", jnp.bfloat16) == "splash"
    assert choose("tpu", jnp.bfloat16, devices=8) == "einsum"
    assert attention_kind("tpu", jnp.float32, length=1000, head_size=64) == "einsum"
    assert choose("cpu", jnp.float32) == "blocks"
    assert choose("cpu", jnp.float32, dropout=True) == "einsum"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "flash"}, "attention = flash; expected one of einsum"),
        ({"kind": "blocks", "causal": False}, "attention = blocks; expected einsum"),
        ({"kind": "cudnn", "drop": lambda w: w}, "leave out --dropout"),
        ({"causal": False, "window": 3}, "window = 3; expected 0"),
    ],
)
def test_what_a_kind_cannot_do_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        attention(*arrays(), **options)


def pretend_cudnn(monkeypatch):
    """Lets cuDNN's attention be traced without a GPU; what it would run on is not there."""
    from jax._src.cudnn import fused_attention_stablehlo as stablehlo

    monkeypatch.setattr(stablehlo, "check_cudnn_version", lambda: 91300)
    return arrays(16, jnp.bfloat16)


def loss_of(**options):
    def loss(*inputs):
        return jnp.sum(attention(*inputs, **options).astype(jnp.float32) ** 2)

    return loss


@pytest.mark.parametrize("documents", [False, True])
def test_cudnn_is_in_the_program_for_a_gpu(documents, monkeypatch):
    inputs = pretend_cudnn(monkeypatch)
    given = jnp.zeros((BATCH, 16), jnp.int32) if documents else None
    loss = loss_of(kind="cudnn", window=8, documents=given)
    program = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*inputs)
    text = program.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__cudnn$fmha") == 2  # forward and backward
    assert "Backward" in text
    assert_uses(text, "cudnn")
    with pytest.raises(RunError, match="attention = einsum; the compiled program has cudnn"):
        assert_uses(text, "einsum")


def test_a_second_derivative_of_cudnn_is_lowered(monkeypatch):
    inputs = pretend_cudnn(monkeypatch)
    gradient = jax.grad(loss_of(kind="cudnn"))

    def product(*inputs):
        return jax.jvp(lambda query: gradient(query, *inputs[1:]), inputs[:1], inputs[:1])[1]

    program = jax.jit(product).trace(*inputs).lower(lowering_platforms=("cuda",))
    assert "__cudnn$fmhaSoftmaxBackward" not in program.as_text()


def test_plain_attention_is_not_taken_for_a_kernel():
    text = jax.jit(loss_of()).lower(*arrays()).as_text()
    assert_uses(text, "einsum")
    with pytest.raises(RunError, match="attention = cudnn; the compiled program has no fused"):
        assert_uses(text, "cudnn")


@pytest.mark.parametrize("window", [0, 40])
def test_splash_is_in_the_program_for_a_tpu(window):
    inputs = arrays(128, jnp.bfloat16, size=64)
    loss = loss_of(kind="splash", window=window)
    program = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*inputs)
    assert_uses(program.lower(lowering_platforms=("tpu",)).as_text(), "splash")


@pytest.mark.slow
@pytest.mark.parametrize("window", [0, 40])
def test_splash_equals_einsum(window):
    query, key, value = arrays(128, size=64)
    documents = jnp.asarray(np.repeat([[1, 2], [1, 1]], 64, axis=1))
    out = splash_attention(query, key, value, window, 0.1, documents, interpret=True)
    plain = quick_jit(partial(attention, window=window, scale=0.1))(
        query, key, value, documents=documents
    )
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-4)


def test_positions_count_from_the_start_of_a_document():
    found = positions_in_documents(jnp.array([[3, 3, 1, 1, 1, 4], [0, 0, 0, 0, 0, 0]]))
    np.testing.assert_array_equal(found, [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]])
