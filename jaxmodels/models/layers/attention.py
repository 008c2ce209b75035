"""Attention: one function for all models, with an implementation per backend.

The implementations ("kinds") are chosen in Python, because a program for one backend cannot even be
traced with the kernels of another:

- cudnn: cuDNN's fused attention on NVIDIA GPUs, in bfloat16.
- splash: the splash kernels in Pallas, on one TPU device.
- blocks: products and a softmax per block of queries, which leaves out the keys that no query of
  the block sees. For a CPU.
- einsum: two products and a softmax, anywhere. Only this one takes a bias of the scores, dropout of
  the weights, and masks of any form.

`cudnn` and `splash` have no second derivatives of their own; `twice.py` gives them those of einsum.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jaxmodels import across
from jaxmodels.errors import InputError, RunError
from jaxmodels.models.layers.beam_attention import BeamCache, attention_weights, beam_attention
from jaxmodels.models.layers.fused_attention import cudnn_attention, splash_attention
from jaxmodels.models.layers.masks import visible
from jaxmodels.ops import with_second_derivatives
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.ops.needed_share import marked, needed_pairs
from jaxmodels.ops.portable import traced_backend
from jaxmodels.protocol import MODEL_AXIS

KINDS = ("einsum", "blocks", "cudnn", "splash")
# What a compiled program calls where the kind was used.
FUSED = {"cudnn": "__cudnn$fmha", "splash": "tpu_custom_call"}
_MOST_HEAD_SIZE = 128  # of cuDNN on every GPU; 256 from Hopper on
_TILE = 128  # the lengths that the splash kernels take are multiples of it
_BLOCK = 64  # queries of a block

Drop = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def current_backend() -> str:
    """Names the backend that programs run on: cpu, tpu, cuda, or another one's name."""
    backend = traced_backend()
    if backend != "gpu":
        return backend
    version = get_backend().platform_version
    return "cuda" if "cuda" in version else "rocm"


def attention_kind(
    backend: str,
    dtype: DTypeLike,
    *,
    length: int,
    head_size: int,
    devices: int = 1,
    dropout: bool = False,
) -> str:
    """Chooses the fastest implementation that a backend has for causal attention over a sequence.

    dropout: attention weights are dropped, which no fused kernel here does.
    """
    if dropout:
        return "einsum"
    half = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    fits = head_size % 8 == 0 and head_size <= _MOST_HEAD_SIZE and length % 2 == 0
    if backend == "cuda" and half and fits:
        return "cudnn"
    # A Pallas kernel is not divided by the compiler; with several devices it would run whole.
    if backend == "tpu" and length % _TILE == 0 and devices == 1:
        return "splash"
    return "blocks" if backend == "cpu" else "einsum"


def assert_uses(compiled_text: str, kind: str) -> None:
    """Checks, in the text of a compiled program, that it computes attention as `kind`.

    Raises:
      RunError: a program without the kind's kernel, or, for a kind without one, with another's.
    """
    found = [name for name, call in FUSED.items() if call in compiled_text]
    if found != ([kind] if kind in FUSED else []):
        raise RunError(
            f"attention = {kind}; the compiled program has {' and '.join(found) or 'no fused'}"
            " attention: choose the kind that it has with --attention"
        )


def attention(
    query: Float[Array, "batch queries heads size"],
    key: Float[Array, "batch keys groups size"],
    value: Float[Array, "batch keys groups size"],
    *,
    kind: str = "einsum",
    causal: bool = True,
    window: int = 0,
    scale: float | None = None,
    documents: Int[Array, "batch queries"] | None = None,
    valid: Bool[Array, "batch keys"] | None = None,
    drop: Drop | None = None,
    bias: Float[Array, "rows heads queries keys"] | None = None,
) -> Float[Array, "batch queries heads size"]:
    """Computes softmax(scale * query key^T) value over the keys that each query may see (Vaswani et
    al. 2017, equation 1). A query that sees no key gives zeros.

    Head h attends to group h // (heads / groups) of the keys and values (Ainslie et al. 2023).

    causal: a query sees the keys at its own place and before.
    window: of these it sees the last `window`, itself included (Beltagy et al. 2020); 0: all.
    scale: None: 1 / sqrt(size).
    documents: the number of the document at each place; a query sees keys of its own document only.
    valid: the keys that exist; the others are padding.
    drop: a function that drops some of the weights, in training.
    bias: added to the scaled scores, as relative positions are (Raffel et al. 2020); with a row for
      each of the batch, or one.

    Raises:
      InputError: an unknown kind, or one that cannot do what is asked.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    query, key, value = by_heads(query), by_heads(key), by_heads(value)
    _require_able(kind, causal, window, valid, drop, bias)

    def plain(query, key, value):
        mask = visible(query.shape[1], key.shape[1], causal, window, documents, valid)
        empty = valid is not None  # then a query may see nothing
        return _einsum_attention(query, key, value, mask, scale, drop, empty, bias)

    if not causal:
        return plain(query, key, value)
    if kind == "blocks":
        return _block_attention(query, key, value, window, scale, documents)

    def fast(query, key, value):
        fused = {"cudnn": cudnn_attention, "splash": splash_attention}[kind]
        return fused(query, key, value, window, scale, documents)

    attend = plain if kind == "einsum" else with_second_derivatives(fast, plain)
    with marked(needed_pairs(query.shape[1], window) / (query.shape[1] * key.shape[1])):
        return attend(query, key, value)


class Cache(NamedTuple):
    """The keys and values of one layer at the places 0..length-1 of each row's sequence."""

    key: Float[Array, "batch length groups size"]
    value: Float[Array, "batch length groups size"]

    @classmethod
    def empty(cls, batch: int, length: int, groups: int, size: int, dtype: DTypeLike) -> "Cache":
        """Makes a cache in which nothing stands yet."""
        return cls(*(jnp.zeros((batch, length, groups, size), dtype) for _ in range(2)))

    @property
    def length(self) -> int:
        """The places."""
        return self.key.shape[1]

    def repeated(self, beams: int) -> BeamCache:
        """Makes the cache of several beams of each row (see `decoding.caches`)."""
        return BeamCache.of(self.key, self.value, beams)


AnyCache = Cache | BeamCache


def cached_attention(
    query: Float[Array, "batch new heads size"],
    key: Float[Array, "batch new groups size"],
    value: Float[Array, "batch new groups size"],
    cache: AnyCache,
    start: Int[Array, "*rows"] | int,
    *,
    window: int = 0,
    scale: float | None = None,
    bias: Float[Array, "rows heads new places"] | None = None,
) -> tuple[Float[Array, "batch new heads size"], AnyCache]:
    """Writes new keys and values at the places from `start` on, and attends to all up to each
    query's own. Gives the output and the cache after it.

    start: one number, or one per row. What the cache has at later places is not seen, so that a
      row may be padded at its end and go on from its true length. start + new must not exceed the
      cache.
    bias: is added to the scaled scores of all places of the cache.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    start = jnp.asarray(start, jnp.int32)
    starts = jnp.broadcast_to(start, query.shape[:1])
    if isinstance(cache, BeamCache):
        return beam_attention(query, key, value, cache, starts, window, scale, bias)
    if start.ndim:
        write = jax.vmap(lambda old, new, at: jax.lax.dynamic_update_slice_in_dim(old, new, at, 0))
        key, value = (write(old, new, starts) for old, new in zip(cache, (key, value)))
    else:
        write = jax.lax.dynamic_update_slice_in_dim
        key, value = (write(old, new, start, 1) for old, new in zip(cache, (key, value)))
    cache = cache._replace(key=key, value=value)
    places = starts[:, None] + jnp.arange(query.shape[1])
    keys = jnp.arange(cache.length)
    mask = keys <= places[..., None]
    if window:
        mask &= keys > places[..., None] - window
    mask = mask[:, None, None]
    return _einsum_attention(query, cache.key, cache.value, mask, scale, bias=bias), cache


def by_heads(
    x: Float[Array, "batch length heads size"],
) -> Float[Array, "batch length heads size"]:
    """Divides the heads over the model axis of a mesh that has one (Shoeybi et al. 2019,
    Megatron-LM, section 3)."""
    return across.constrain(x, across.BATCH, None, MODEL_AXIS, what="heads")


def _require_able(kind: str, causal: bool, window: int, valid, drop, bias) -> None:
    if kind not in KINDS:
        raise InputError(f"attention = {kind}; expected one of {', '.join(KINDS)}")
    if window and not causal:
        raise InputError(f"window = {window}; expected 0 where attention is not causal")
    others = (valid, drop, bias)
    if kind != "einsum" and (not causal or any(other is not None for other in others)):
        raise InputError(
            f"attention = {kind}; expected einsum for attention that is not causal, has padding or"
            " a bias, or drops weights: --attention einsum, or leave out --dropout"
        )


def _einsum_attention(query, key, value, mask, scale, drop=None, empty=False, bias=None):
    """Computes attention by two products.

    mask: [batch or 1, 1, 1, queries, keys], or None.
    empty: there may be queries that see nothing.
    """
    batch, length, _, size = query.shape
    grouped = query.reshape(batch, length, key.shape[2], -1, size)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bqghd,bkgd->bghqk", grouped, key, preferred_element_type=wide)
    scores = scale * scores
    if bias is not None:
        scores += bias.reshape(len(bias), *scores.shape[1:]).astype(wide)
    weights, total = attention_weights(scores, mask, empty)
    if drop is not None:
        weights = drop(weights)
    out = jnp.einsum("bghqk,bkgd->bqghd", weights.astype(value.dtype), value)
    out = out / jnp.moveaxis(total, 3, 1).astype(value.dtype)
    return out.reshape(query.shape)


def _block_attention(query, key, value, window, scale, documents):
    """Computes causal attention block by block of queries, over the keys that the block may see."""
    batch, length, heads, size = query.shape
    groups = key.shape[2]
    wide = jnp.promote_types(query.dtype, jnp.float32)
    # Heads first, once and for all blocks.
    query, key, value = (materialize_on_cpu(x.swapaxes(1, 2)) for x in (query, key, value))
    query = query.reshape(batch, groups, heads // groups, length, size)
    spans = []
    for start in range(0, length, _BLOCK):
        first = max(0, start - window + 1) if window else 0
        spans.append((first, start, min(start + _BLOCK, length)))
    pairs = sum((stop - start) * (stop - first) for first, start, stop in spans)
    outputs = []
    for first, start, stop in spans:
        mask = visible(stop - start, stop - first, True, window, None, None, start - first)
        if documents is not None:
            own, others = documents[:, start:stop, None], documents[:, None, first:stop]
            mask = mask & (own == others)[:, None, None]
        of_block, keys = query[..., start:stop, :], key[:, :, first:stop]
        with marked(needed_pairs(length, window) / pairs):
            scores = jnp.einsum("bghqd,bgkd->bghqk", of_block, keys, preferred_element_type=wide)
            weights, total = attention_weights(scale * scores, mask)
            values = value[:, :, first:stop]
            out = jnp.einsum("bghqk,bgkd->bghqd", weights.astype(value.dtype), values)
        outputs.append(out / total.astype(value.dtype))
    out = jnp.concatenate(outputs, axis=3).reshape(batch, heads, length, size)
    return materialize_on_cpu(out.swapaxes(1, 2))
