"""The names of T5's published weights, and its config.json as flags of ours.

They are those of transformers' T5ForConditionalGeneration, which mT5 and Flan-T5 have as well.
"""

from collections.abc import Collection
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models.t5 import T5Config
from jaxmodels.models.t5_block import EPSILON
from jaxmodels.pretrained import Entry, Published, Weights, required_sizes
from jaxmodels.pretrained.names import linear, norm

_SIZES = {
    "layers": "num_layers",
    "width": "d_model",
    "heads": "num_heads",
    "head_size": "d_kv",
    "hidden": "d_ff",
}
_POSITIONS = {
    "position_buckets": "relative_attention_num_buckets",
    "farthest": "relative_attention_max_distance",
}
_ROWS = "vocab_size"
_USUAL = {"position_buckets": 32, "farthest": 128}
_KINDS = ("t5", "mt5", "umt5")
_MLPS = {"relu": False, "gated-gelu": True}
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {"layer_norm_epsilon": (EPSILON,), "is_encoder_decoder": (True,)}
# Modules of ours and theirs, in a block.
_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}
_HEAD = "lm_head.weight"


def is_published(weights: Weights) -> bool:
    """Whether these are weights of T5."""
    first = "encoder.block.0.layer.0.SelfAttention.q.weight"
    return weights.config.get("model_type", _KINDS[0]) in _KINDS[:2] and first in weights


def published(config: T5Config, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `T5`; `names`, of the file, do not matter."""
    sizes = config.sizes()
    entries = [Entry("shared.weight", ("params/embedding/embedding",))]
    for side, layers in (("encoder", sizes["layers"]), ("decoder", sizes["decoder_layers"])):
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        entries.append(Entry(bias, (f"params/{side}_relative/embedding",)))
        for index in range(layers):
            entries += _block(f"{side}.block.{index}", f"{side}_block_{index}", sizes["gated"])
        entries += norm(f"{side}.final_layer_norm", f"{side}_norm", bias=False)
    tied = {f"{side}.embed_tokens.weight": "shared.weight" for side in ("encoder", "decoder")}
    if sizes["tied"]:
        tied[_HEAD] = "shared.weight"
    else:
        entries += linear("lm_head", "head", bias=False)
    # A bias of the attention to the memory, which the first release has and does not use.
    ignored = (r"^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$",)
    return Published(tuple(entries), tied, ignored)


def _block(name: str, path: str, gated: bool) -> list[Entry]:
    decodes = name.startswith("decoder")
    entries = [*norm(f"{name}.layer.0.layer_norm", f"{path}/norm1", bias=False)]
    for ours, theirs in _ATTENTION.items():
        attention = f"{name}.layer.0.SelfAttention.{theirs}"
        entries += linear(attention, f"{path}/{ours}", bias=False)
        if decodes:
            cross = f"{name}.layer.1.EncDecAttention.{theirs}"
            entries += linear(cross, f"{path}/cross_{ours}", bias=False)
    if decodes:
        entries += norm(f"{name}.layer.1.layer_norm", f"{path}/norm3", bias=False)
    last = f"{name}.layer.{1 + decodes}"
    entries += norm(f"{last}.layer_norm", f"{path}/norm2", bias=False)
    parts = {"gate": "wi_0", "linear1": "wi_1"} if gated else {"linear1": "wi"}
    for ours, theirs in {**parts, "linear2": "wo"}.items():
        entries += linear(f"{last}.DenseReluDense.{theirs}", f"{path}/{ours}", bias=False)
    return entries


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights as flags: those of `T5Config`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    sizes = required_sizes(weights, _SIZES, _FIXED)
    config = weights.config
    mlp = config.get("feed_forward_proj", "relu")
    if mlp not in _MLPS:
        raise InputError(
            f"{weights.path}: feed_forward_proj = {mlp}; expected {' or '.join(_MLPS)}, which is"
            " all that t5 has here"
        )
    # transformers 5 writes that heads are tied whether they are or not, and the scale beside it.
    is_tied = config.get("tie_word_embeddings") is not False
    is_scaled = config.get("scale_decoder_outputs", is_tied)
    if not is_scaled and _HEAD not in weights:
        raise InputError(
            f"{weights.path}: a tied head whose input is not scaled; expected {_HEAD} in the file,"
            " or a head that is tied as in version 1.0"
        )
    positions = {ours: config.get(theirs, _USUAL[ours]) for ours, theirs in _POSITIONS.items()}
    return {
        "model": "t5",
        **sizes,
        "decoder_layers": config.get("num_decoder_layers") or sizes["layers"],
        "gated": _MLPS[mlp],
        "tied": bool(is_scaled),
        **positions,
        "rows": config.get(_ROWS, 0),
    }


def published_config(
    config: T5Config, vocabulary: int, begin: int = 0, end: int = 1, padding: int = 0
) -> dict[str, Any]:
    """Makes the config.json of a `T5`, which transformers reads.

    begin, end, padding: the tokens before and after a text, and behind it.
    """
    sizes = config.sizes()
    is_gated = {gated: name for name, gated in _MLPS.items()}[sizes["gated"]]
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": _KINDS[0],
        _ROWS: max(vocabulary, config.rows),
        **{theirs: sizes[ours] for ours, theirs in (_SIZES | _POSITIONS).items()},
        "num_decoder_layers": sizes["decoder_layers"],
        "feed_forward_proj": is_gated,
        # Newer versions of transformers read the second, older ones the first.
        "tie_word_embeddings": sizes["tied"],
        "scale_decoder_outputs": sizes["tied"],
        **{name: values[0] for name, values in _FIXED.items()},
        "decoder_start_token_id": begin,
        "eos_token_id": end,
        "pad_token_id": padding,
        "dtype": "float32",
    }
