"""Cross-entropy of a linear head over a large vocabulary, without all logits at once."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int

from jaxmodels import across
from jaxmodels.protocol import MODEL_AXIS, PyTree

_LOGITS = 13_000_000  # logits that exist at a time: 258 tokens of 50,257 words
_PART = 8192  # words whose gradients are added at a time


class HeadLosses(NamedTuple):
    """What `head_cross_entropy` computes; the numbers of tokens have the shape of the targets."""

    total: Float[Array, ""]  # nats, with weights and z-loss
    losses: Float[Array, "batch length"]  # nats of each token, without
    largest: Float[Array, "batch length"]  # the largest logit, without gradient
    hits: Bool[Array, "batch length"]  # the target's logit is larger than all others


def soft_cap(logits: Float[Array, "*shape"], cap: float) -> Float[Array, "*shape"]:
    """Bounds logits smoothly: cap * x / sqrt(x^2 + cap^2), as modded-nanogpt's `train_gpt_simple`;
    without effect where cap is 0. Gemma 2's cap * tanh(x / cap) is nearly the same curve."""
    if not cap:
        return logits
    return logits * (cap * jax.lax.rsqrt(jnp.square(logits) + cap**2))


def head_cross_entropy(
    hidden: Float[Array, "batch length width"],
    kernel: Float[Array, "width vocabulary"],
    targets: Int[Array, "batch length"],
    weights: Float[Array, "batch length"] | None = None,
    *,
    logit_cap: float = 0.0,
    z_loss: Float[Array, ""] | float = 0.0,
    tied: bool = False,
    block: int = 0,
) -> HeadLosses:
    """Computes sum over tokens of weight * (loss + z_loss * log^2 Z), where the loss is the
    cross-entropy of `soft_cap(hidden @ kernel, logit_cap)` in nats, and Z the sum of exponentials
    (Chowdhery et al. 2022, PaLM, section 5).

    About `block` tokens have logits at a time. The pass that computes the losses computes the
    gradients of `total` as well, so that no logits are kept or computed twice. Gradients through
    `losses` are exact too, but take a second pass. Products are in the type of `hidden`, all else
    is in float32 or wider.

    weights: None: all are 1. A token whose weight is 0 may have any target; the loss of a target
      outside 0..vocabulary-1 is NaN.
    tied: the kernel is a table of embeddings, transposed; it is then not copied to another order.
    block: counts the tokens of the global batch; 0: as many as have 13 million logits. The blocks
      divide the length, so that each device has its examples' share of every block.

    On a mesh whose model axis divides the vocabulary, each device has the logits of its words:
    neither logits nor the kernel are gathered.
    """
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    weights = jnp.ones(targets.shape, wide) if weights is None else weights.astype(wide)
    block = block or max(1, _LOGITS // kernel.shape[1])
    how = _How(logit_cap, block, "vw" if tied else "wv")
    kernel = kernel.T if tied else kernel
    found: Any = _losses(how, hidden, kernel, targets, weights, jnp.asarray(z_loss, wide))
    return found._replace(largest=jax.lax.stop_gradient(found.largest))


class _How(NamedTuple):
    cap: float
    block: int
    order: str  # of the kernel's axes: wv or vw


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _losses(how: _How, *arrays: Array) -> HeadLosses:
    return _in_blocks(how, *arrays, with_gradients=False)[0]


def _forward(how, *primals):
    arrays = tuple(primal.value for primal in primals)
    found, log_normalizers, gradients = _in_blocks(how, *arrays, with_gradients=True)
    return found, (arrays, found.losses, log_normalizers, gradients)


def _backward(how, kept, cotangents: HeadLosses):
    (hidden, kernel, targets, weights, z_loss), losses, log_normalizers, gradients = kept
    for_hidden, for_kernel = jnp.zeros_like(hidden), jnp.zeros_like(kernel)
    for_weights, for_z_loss = jnp.zeros_like(weights), jnp.zeros_like(z_loss)
    if not isinstance(cotangents.total, SymbolicZero):
        factor = cotangents.total
        for_hidden = (factor * gradients[0]).astype(hidden.dtype)
        for_kernel = (factor * gradients[1]).astype(kernel.dtype)
        squares = jnp.square(log_normalizers)
        for_weights = factor * (losses + z_loss * squares)
        for_z_loss = factor * jnp.sum(weights * squares)
    if not isinstance(cotangents.losses, SymbolicZero):
        arrays = hidden, kernel, targets, cotangents.losses, jnp.zeros_like(z_loss)
        _, _, more = _in_blocks(how, *arrays, with_gradients=True)
        for_hidden += more[0].astype(hidden.dtype)
        for_kernel += more[1].astype(kernel.dtype)
    return for_hidden, for_kernel, None, for_weights, for_z_loss


_losses.defvjp(_forward, _backward, symbolic_zeros=True)


def _in_blocks(
    how: _How, hidden, kernel, targets, weights, z_loss, *, with_gradients: bool
) -> tuple[HeadLosses, Array, PyTree]:
    """Computes the losses, log Z, and, if asked, the gradients of the total in hidden and kernel,
    block by block of places."""
    batch, length = targets.shape
    rows = min(max(1, how.block // batch), length)
    count = -(-length // rows)

    def divided(x):
        x = jnp.pad(x, [(0, 0), (0, count * rows - length)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(batch, count, rows, *x.shape[2:]).swapaxes(0, 1)

    def joined(x) -> Any:
        if x is None:
            return None
        x = x.swapaxes(0, 1)
        return x.reshape(batch, count * rows, *x.shape[3:])[:, :length]

    wide = weights.dtype
    of_block = partial(_block, how, kernel.astype(hidden.dtype), z_loss, with_gradients)

    def step(for_kernel, blocks):
        outputs, for_logits = of_block(*blocks)
        return _added(how, for_kernel, blocks[0], for_logits), outputs

    start = jnp.zeros(kernel.shape, wide) if with_gradients else None
    blocks = tuple(divided(x) for x in (hidden, targets, weights))
    if count == 1:
        (totals, *outputs), for_logits = of_block(*(x[0] for x in blocks))
        for_kernel = _added(how, start, blocks[0][0], for_logits)
        totals, outputs = totals[None], [None if x is None else x[None] for x in outputs]
    else:
        for_kernel, (totals, *outputs) = jax.lax.scan(step, start, blocks)
    losses, largest, hits, log_normalizers, for_hidden = (joined(x) for x in outputs)
    found = HeadLosses(jnp.sum(totals), losses, largest, hits)
    return found, log_normalizers, (for_hidden, for_kernel)


def _block(how: _How, kernel, z_loss, with_gradients: bool, hidden, targets, weights):
    wide = weights.dtype
    raw = jnp.einsum(f"brw,{how.order}->brv", hidden, kernel, preferred_element_type=wide)
    by_words = across.divides(MODEL_AXIS, raw.shape[-1])
    if by_words:
        raw = across.constrain(raw, across.BATCH, None, MODEL_AXIS)
    logits = soft_cap(raw, how.cap)
    largest = jnp.max(logits, axis=-1)
    log_normalizer = largest + jnp.log(jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1))
    at = _of_targets(logits, targets, by_words)
    losses = log_normalizer - at[..., 0]
    hits = jnp.sum(logits >= at, axis=-1) == 1
    penalized = losses + z_loss * jnp.square(log_normalizer)
    total = jnp.sum(jnp.where(weights == 0, 0, weights * penalized))
    if not with_gradients:
        return (total, losses, largest, hits, log_normalizer, None), None
    probabilities = jnp.exp(logits - log_normalizer[..., None])
    share = weights * (1 + 2 * z_loss * log_normalizer)
    is_target = targets[..., None] == jnp.arange(logits.shape[-1])
    for_logits = share[..., None] * probabilities - jnp.where(is_target, weights[..., None], 0)
    if how.cap:  # the derivative of soft_cap
        for_logits *= (how.cap * jax.lax.rsqrt(jnp.square(raw) + how.cap**2)) ** 3
    for_logits = for_logits.astype(hidden.dtype)
    for_hidden = jnp.einsum(f"brv,{how.order}->brw", for_logits, kernel)
    return (total, losses, largest, hits, log_normalizer, for_hidden), for_logits


def _of_targets(logits, targets, by_words: bool):
    """Takes the logits of targets. Where devices have those of their words, to take them by index
    would gather all."""
    if not by_words:
        return jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="fill")
    is_target = targets[..., None] == jnp.arange(logits.shape[-1])
    at = jnp.sum(jnp.where(is_target, logits, 0), axis=-1, keepdims=True)
    return jnp.where(jnp.any(is_target, axis=-1, keepdims=True), at, jnp.nan)


def _added(how: _How, for_kernel, hidden, for_logits):
    """Adds the gradient of a block, part by part, because no CPU adds to a product in place."""
    if for_kernel is None:
        return None
    vocabulary = for_logits.shape[-1]
    by_words = across.divides(MODEL_AXIS, vocabulary)
    side = vocabulary if by_words or vocabulary < 4 * _PART else _PART
    for at in range(0, vocabulary, side):
        part = slice(at, at + side)
        more = jnp.einsum(
            f"brw,brv->{how.order}",
            hidden,
            for_logits[..., part],
            preferred_element_type=for_kernel.dtype,
        )
        place = (slice(None), part) if how.order == "wv" else part
        for_kernel = for_kernel.at[place].add(more)
    if by_words:
        axes = (None, MODEL_AXIS) if how.order == "wv" else (MODEL_AXIS, None)
        for_kernel = across.constrain(for_kernel, *axes)
    return for_kernel
