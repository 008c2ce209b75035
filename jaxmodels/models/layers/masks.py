"""Which keys a query may see."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def visible(
    queries: int,
    keys: int,
    causal: bool,
    window: int = 0,
    documents: Int[Array, "batch queries"] | None = None,
    valid: Bool[Array, "batch keys"] | None = None,
    offset: int = 0,
) -> Bool[Array, "rows 1 1 queries keys"] | None:
    """Marks the keys that each query may see; None: all of them.

    causal, window, documents, valid: as in `attention`.
    offset: the place of the first query, counted from the first key.
    """
    mask = None
    if causal:
        behind = offset + jnp.arange(queries)[:, None] - jnp.arange(keys)
        mask = behind >= 0
        if window:
            mask &= behind < window
        mask = mask[None, None, None]
    if documents is not None:
        same = (documents[:, :, None] == documents[:, None, :])[:, None, None]
        mask = same if mask is None else mask & same
    if valid is not None:
        exists = jnp.broadcast_to(valid[:, None, None, None], (valid.shape[0], 1, 1, queries, keys))
        mask = exists if mask is None else mask & exists
    return mask


def positions_in_documents(documents: Int[Array, "batch length"]) -> Int[Array, "batch length"]:
    """Counts the places since the first of each document, whose tokens stand side by side."""
    places = jnp.arange(documents.shape[1])
    begins = documents != jnp.roll(documents, 1, axis=1)
    first = jnp.where(begins.at[:, 0].set(True), places, 0)
    return places - jax.lax.cummax(first, axis=1)
