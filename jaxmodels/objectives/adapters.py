"""Low-rank adapters (Hu et al. 2021, "LoRA", section 4.1): a kernel that is kept, and the product
of two thin matrices beside it that is trained."""

import math
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError

ADAPTER = ("A", "B")
_ADAPTERS = 0x10A  # folded into the key of a state, whose other uses are of the model


def draw_adapter(
    key: Key[Array, ""], path: str, kernel: Float[Array, "*inputs outputs"], rank: int
) -> dict[str, Array]:
    """Draws A, normal with variance 1 / inputs, and makes B, which is zero at first. All axes of a
    kernel but the last are its inputs.

    Raises:
      InputError: a rank that the kernel cannot have.
    """
    inputs, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    if rank > min(inputs, outputs):
        raise InputError(
            f"adapter_rank = {rank}; {path} has {inputs} inputs and {outputs} outputs: expected a"
            f" rank of at most {min(inputs, outputs)}, or another --adapter-on"
        )
    own = jax.random.fold_in(jax.random.fold_in(key, _ADAPTERS), zlib.crc32(path.encode()))
    first = jax.random.normal(own, (inputs, rank), kernel.dtype) / math.sqrt(inputs)
    return {"A": first, "B": jnp.zeros((rank, outputs), kernel.dtype)}


def adapted(
    kernel: Float[Array, "*inputs outputs"],
    adapter: Mapping[str, Array],
    scale: Float[Array, ""] | float,
) -> Float[Array, "*inputs outputs"]:
    """Computes kernel + scale * A @ B."""
    change = adapter["A"] @ adapter["B"]
    return kernel + (scale * change.reshape(kernel.shape)).astype(kernel.dtype)
