"""The names of Llama-like decoders' published weights, and their sizes as flags of ours.

They are those of transformers' LlamaForCausalLM (Llama, SmolLM2) and Qwen2ForCausalLM, and those of
GGUF files of the architectures llama and qwen2 (github.com/ggml-org/llama.cpp at
gguf-py/gguf/constants.py).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.pretrained.names import Entry, Published, linear, norm, rotary_pairs

# Ours and theirs of what both have.
_SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "head_size": "head_dim",
    "hidden": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
}
_GGUF_SIZES = {
    "layers": "block_count",
    "width": "embedding_length",
    "heads": "attention.head_count",
    "key_value_heads": "attention.head_count_kv",
    "head_size": "attention.key_length",
    "hidden": "feed_forward_length",
    "norm_epsilon": "attention.layer_norm_rms_epsilon",
    "rotary_base": "rope.freq_base",
    "context": "context_length",
}
_KINDS = ("llama", "qwen2")
# What the network here has one way only: as published, where the field is absent.
_FIXED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "pretraining_tp": 1,
}
# Modules of ours and theirs, in a block.
_LINEAR = {
    "query": ("self_attn.q_proj", "attn_q"),
    "key": ("self_attn.k_proj", "attn_k"),
    "value": ("self_attn.v_proj", "attn_v"),
    "out": ("self_attn.o_proj", "attn_output"),
    "gate": ("mlp.gate_proj", "ffn_gate"),
    "linear1": ("mlp.up_proj", "ffn_up"),
    "linear2": ("mlp.down_proj", "ffn_down"),
}
_NORMS = {
    "norm1": ("input_layernorm", "attn_norm"),
    "norm2": ("post_attention_layernorm", "ffn_norm"),
}
_OUTSIDE = {
    "token_embedding": ("embed_tokens", "token_embd"),
    "norm": ("norm", "output_norm"),
    "head": ("lm_head", "output"),
}


def published(config: LlamaConfig, *, gguf: bool = False) -> Published:
    """Makes the table of names of a `Llama`.

    gguf: those of a GGUF file, in which queries and keys of Llama, not of Qwen2, are stored with
      the two numbers of a rotary pair side by side.
    """
    sizes = config.sizes()
    which = int(gguf)
    table, last, head = (names[which] for names in _OUTSIDE.values())
    entries = [Entry(f"{table}.weight", ("params/token_embedding/embedding",))]
    entries += norm(last, "norm", bias=False)
    if not sizes["tied"]:
        entries += linear(head, "head", bias=False, outside=True)
    for index in range(sizes["layers"]):
        block, name = f"block_{index}", f"{'blk' if gguf else 'layers'}.{index}"
        for part, names in _NORMS.items():
            entries += norm(f"{name}.{names[which]}", f"{block}/{part}", bias=False)
        for part, names in _LINEAR.items():
            bias = sizes["qkv_bias"] and part in ("query", "key", "value")
            entries += linear(f"{name}.{names[which]}", f"{block}/{part}", bias=bias)
    ignored = [r"rotary_emb\.inv_freq$"]
    if gguf:
        if not sizes["qkv_bias"]:
            heads = {"attn_q": sizes["heads"], "attn_k": sizes["key_value_heads"]}
            entries = [_with_pairs(entry, heads) for entry in entries]
        if sizes["rotary_factor"] > 1:
            # The divisors of frequencies that `layers.rotary.Stretch` computes.
            ignored.append(r"^rope_freqs\.weight$")
    tied = {f"{head}.weight": f"{table}.weight"} if sizes["tied"] else {}
    prefixes = ("",) if gguf else ("model.", "")
    return Published(tuple(entries), tied, tuple(ignored), prefixes)


def _with_pairs(entry: Entry, heads: Mapping[str, int]) -> Entry:
    part = entry.name.split(".")[-2]
    if part not in heads:
        return entry
    return Entry(entry.name, entry.paths, rotary_pairs(heads[part]), entry.outside)


def flags_from_published(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Reads a config.json, or the metadata of a GGUF file, as flags: those of `LlamaConfig`, with
    "model" and "context".

    names: those of the arrays, which alone tell of a GGUF file whether its head is tied.

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    if "general.architecture" in config:
        return _flags_of_gguf(config) | {"tied": f"{_OUTSIDE['head'][1]}.weight" not in names}
    kind = config.get("model_type", "llama")
    if kind not in _KINDS:
        raise InputError(f"model_type = {kind}; expected {' or '.join(_KINDS)}")
    for name, only in _FIXED.items():
        if config.get(name, only) != only:
            raise InputError(
                f"{name} = {config[name]}; expected {only}, which is all that llama has here"
            )
    found = {"rms_norm_eps": 1e-6, "max_position_embeddings": 2048, "head_dim": 0, **config}
    found["num_key_value_heads"] = found.get("num_key_value_heads") or found.get(
        "num_attention_heads"
    )
    found["head_dim"] = found["head_dim"] or 0
    _require(found, _SIZES.values(), f"config.json of {kind}")
    flags = {ours: found[theirs] for ours, theirs in _SIZES.items()}
    flags |= {"context": found["max_position_embeddings"], **_rotary_flags(config)}
    tied = bool(config.get("tie_word_embeddings", False))
    return {"model": "llama", **flags, "qkv_bias": kind == "qwen2", "tied": tied}


def _rotary_flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the base, and the stretch of a longer context."""
    # transformers 5 writes all in one object.
    found = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    base = config.get("rope_theta") or found.get("rope_theta") or 10_000.0
    flags = {"rotary_base": float(base), "rotary_factor": 1.0}
    kind = found.get("rope_type") or found.get("type") or "default"
    if kind == "default":
        return flags
    usual = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind != "llama3" or any(found.get(name, value) != value for name, value in usual.items()):
        raise InputError(
            f"rope_scaling = {found}; expected none, or rope_type llama3 with {usual}, which is all"
            " that llama has here"
        )
    flags["rotary_factor"] = float(found["factor"])
    return {**flags, "rotary_context": int(found["original_max_position_embeddings"])}


def _flags_of_gguf(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kind = metadata["general.architecture"]
    if kind not in _KINDS:
        raise InputError(f"general.architecture = {kind}; expected {' or '.join(_KINDS)}")
    scaling = metadata.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        raise InputError(f"rope.scaling.type = {scaling}; expected none, which is all llama has here")
    found = {
        ours: metadata[f"{kind}.{theirs}"]
        for ours, theirs in _GGUF_SIZES.items()
        if f"{kind}.{theirs}" in metadata
    }
    found = {"rotary_base": 10_000.0, "head_size": 0, **found}
    found.setdefault("key_value_heads", found.get("heads"))
    _require(found, _GGUF_SIZES, f"the GGUF metadata of {kind}")
    for name in ("norm_epsilon", "rotary_base"):
        # Stored as float32, whose shortest decimals are the number meant.
        found[name] = float(str(np.float32(found[name])))
    return {"model": "llama", **found, "qkv_bias": kind == "qwen2"}


def _require(found: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    missing = [name for name in names if found.get(name) is None]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; expected numbers")


def published_config(config: LlamaConfig, vocabulary: int, context: int) -> dict[str, Any]:
    """Makes the config.json of a `Llama`, which transformers reads."""
    sizes = config.sizes()
    kind = "qwen2" if sizes["qkv_bias"] else "llama"
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": sizes["rotary_base"]}
    if sizes["rotary_factor"] > 1:
        rotary |= {
            "rope_type": "llama3",
            "factor": sizes["rotary_factor"],
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": sizes["rotary_context"],
        }
    found: dict[str, Any] = {
        "architectures": [{"llama": "Llama", "qwen2": "Qwen2"}[kind] + "ForCausalLM"],
        "model_type": kind,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        **{theirs: sizes[ours] for ours, theirs in _SIZES.items()},
        "head_dim": sizes["head_size"] or sizes["width"] // sizes["heads"],
        "hidden_act": "silu",
        "tie_word_embeddings": sizes["tied"],
        # Older versions of transformers read the first two, newer ones the third.
        "rope_theta": sizes["rotary_base"],
        "rope_scaling": None if rotary["rope_type"] == "default" else rotary,
        "rope_parameters": rotary,
    }
    return found
