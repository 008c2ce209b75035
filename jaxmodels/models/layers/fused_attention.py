"""Fused kernels of causal attention on accelerators, which never store the weights."""

from typing import Any

import jax
from jaxtyping import Array, Float, Int


def cudnn_attention(
    query: Float[Array, "batch length heads size"],
    key: Float[Array, "batch length groups size"],
    value: Float[Array, "batch length groups size"],
    window: int,
    scale: float,
    documents: Int[Array, "batch length"] | None,
) -> Float[Array, "batch length heads size"]:
    """Computes causal attention by cuDNN, which raises for what it does not support."""
    mask = None
    if documents is not None:
        mask = (documents[:, :, None] == documents[:, None, :])[:, None]
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        scale=scale,
        is_causal=True,
        local_window_size=(window - 1, 0) if window else None,
        implementation="cudnn",
    )


def splash_attention(
    query: Float[Array, "batch length heads size"],
    key: Float[Array, "batch length groups size"],
    value: Float[Array, "batch length groups size"],
    window: int,
    scale: float,
    documents: Int[Array, "batch length"] | None,
    interpret: bool = False,
) -> Float[Array, "batch length heads size"]:
    """Computes causal attention by the splash kernels of jax, whose grid leaves out what no query
    sees.

    interpret: run without a TPU, slowly, as a test does.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernels,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length, heads = query.shape[1:3]
    shape = (length, length)
    one = masks.LocalMask(shape, (window - 1, 0), 0) if window else masks.CausalMask(shape)
    side = 512 if length % 512 == 0 else 128
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([one] * heads),
        block_sizes=kernels.BlockSizes(
            block_q=side,
            block_kv=side,
            block_kv_compute=side,
            block_q_dkv=side,
            block_kv_dkv=side,
            block_kv_dkv_compute=side,
            block_q_dq=side,
            block_kv_dq=side,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    segments = None if documents is None else kernels.SegmentIds(documents, documents)
    query, key, value = (x.swapaxes(1, 2) for x in (scale * query, key, value))
    out: Any = jax.vmap(kernel)(query, key, value, segments)
    return out.swapaxes(1, 2).astype(query.dtype)
