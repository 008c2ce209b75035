"""The blocks of a transformer, one after another: written out or scanned, kept or computed again.

The parameters of each block are a part of the model's tree of their own, "block_0", "block_1", ...,
whichever way they run: a scan stacks them inside the program. So weights do not depend on a flag.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxmodels import across
from jaxmodels.errors import require_known
from jaxmodels.models.layers.attention import AnyCache
from jaxmodels.models.layers.beam_attention import Remembered
from jaxmodels.ops import hash_dropout, seeds_for
from jaxmodels.ops.portable import target_backend
from jaxmodels.ops.rematerialize import rematerialized
from jaxmodels.protocol import FSDP_AXIS, MODEL_AXIS, PyTree, ShardingRule

SCANS = ("auto", "on", "off")
BLOCK = "block_0"  # the path of a block's parameters; rules do not tell one block from another
LATE = r"(^|[/_])block_\d+/"  # what `run_blocks` gathers, for `Sharding.late`
# As Shoeybi et al. 2019, Megatron-LM, section 3: tables of words and heads are divided by words,
# whose logits `ops.head_cross_entropy` leaves where they are. A vocabulary that the mesh does not
# divide is whole. Tables are not divided by width if there is a choice: the gradient of a table in
# such parts would gather activations.
_TABLE = r"(^|/)((token|source|target)_)?embedding/embedding$"
BY_WORDS = (
    ShardingRule(_TABLE, ((MODEL_AXIS, FSDP_AXIS), None), optional=True),
    ShardingRule(_TABLE, (MODEL_AXIS, None), optional=True),
    ShardingRule(r"(^|/)head/kernel$", (None, MODEL_AXIS), optional=True),
)
_USES = 8  # of dropout in one block, at most


class BlockInputs(NamedTuple):
    """What a block is given beside the residual stream."""

    layer: Int[Array, ""] | int = 0  # the number of the block
    documents: Int[Array, "batch length"] | None = None
    angles: Float[Array, "*rows length pairs"] | None = None  # rotary positions
    valid: Bool[Array, "batch length"] | None = None  # False: padding
    first: Float[Array, "batch length width"] | None = None  # the stream before the first block
    value: Float[Array, "batch length groups size"] | None = None  # value embeddings
    seeds: UInt32[Array, "batch 2"] | None = None  # of dropout; None: there is none
    rate: Float[Array, ""] | float = 0.0  # of dropout
    cache: AnyCache | None = None
    start: Int[Array, "*rows"] | int = 0  # where the cache is written from
    bias: Float[Array, "rows heads queries keys"] | None = None  # of self-attention
    memory: Float[Array, "batch source width"] | None = None  # what a decoder reads
    memory_valid: Bool[Array, "batch source"] | None = None  # False: padding
    cross: Remembered | None = None  # the block's keys and values of the memory, made beforehand

    def dropped(self, x: Float[Array, "batch *rest"], use: int) -> Float[Array, "batch *rest"]:
        """Drops numbers of x; each place of a block has a `use` of its own, below 8."""
        if self.seeds is None:
            return x
        return hash_dropout(x, self.rate, seeds_for(self.seeds, self.layer * _USES + use))


def run_blocks(
    blocks: Sequence[nn.Module],
    params: Sequence[PyTree],
    own: Sequence[Mapping[str, Array]],
    x: Float[Array, "batch length width"],
    inputs: BlockInputs,
    *,
    scan: bool = False,
) -> tuple[Float[Array, "batch length width"], Float[Array, " layers"]]:
    """Applies blocks (x, inputs) -> (x, cache) without a cache. Gives the stream after the last,
    and the root mean square of the stream after each.

    own: the inputs that each block has for itself, by their names in `BlockInputs`.
    scan: equal blocks, or equal groups of them where they alternate, run as one loop, which
      compiles faster. On a CPU, loops within the loop over steps are slow.

    Parameters that a mesh divides are gathered block by block, and again for the gradient where it
    computes the block again.
    """

    def apply(block, x, params, own):
        def run(x, params, own):
            params = across.gathered(params, BLOCK, x.dtype)
            return block.apply({"params": params}, x, inputs._replace(**own))[0]

        plain, run = run, rematerialized(run)
        if run is plain and across.has_mesh():
            # Otherwise the gathered parameters of all blocks would be kept for the gradient.
            policy = jax.checkpoint_policies.save_anything_except_these_names(across.GATHERED)
            run = jax.checkpoint(run, policy=policy)
        x = across.constrain(run(x, params, own), across.BATCH)
        return x, jnp.sqrt(jnp.mean(jnp.square(x.astype(jnp.float32))))

    x = across.constrain(x, across.BATCH)
    kinds = [(block, frozenset(mine)) for block, mine in zip(blocks, own)]
    period, times = repetition(kinds) if scan else (1, 0)
    norms = []
    if times > 1:
        stacked = [
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
            for layers in (
                [(params[i], dict(own[i])) for i in range(at, period * times, period)]
                for at in range(period)
            )
        ]

        def group(x, layers):
            found = []
            for block, layer in zip(blocks, layers):
                x, norm = apply(block, x, *layer)
                found.append(norm)
            return x, jnp.stack(found)

        x, scanned = jax.lax.scan(group, x, stacked)
        norms = list(scanned.reshape(-1))
    for i in range(len(norms), len(blocks)):
        x, norm = apply(blocks[i], x, params[i], own[i])
        norms.append(norm)
    return x, jnp.stack(norms)


def repetition(kinds: Sequence) -> tuple[int, int]:
    """Finds the shortest group that repeats from the start over all but less than a group of the
    sequence: its length, and how often it comes; (length, 1) if none does."""
    for period in range(1, len(kinds) // 2 + 1):
        times = 1
        while list(kinds[times * period : (times + 1) * period]) == list(kinds[:period]):
            times += 1
        if times > 1 and (times + 1) * period > len(kinds):
            return period, times
    return len(kinds), 1


@lru_cache(maxsize=256)
def traced_once(block: nn.Module, mesh: Mesh | None) -> Callable:
    """Makes the pass of a block for decoding, which JAX traces once for all equal blocks and all
    programs on a mesh."""
    return jax.jit(lambda params, x, inputs: block.apply({"params": params}, x, inputs))


def is_scanned(scan_layers: str) -> bool:
    """Decides `--scan-layers auto|on|off`: auto scans everywhere but on a CPU."""
    require_known("scan_layers", scan_layers, SCANS)
    return scan_layers == "on" or (scan_layers == "auto" and target_backend() != "cpu")
