"""The names of Llama-like decoders' published weights, and their sizes as flags of ours.

They are those of transformers' LlamaForCausalLM (Llama, SmolLM2) and Qwen2ForCausalLM, and those of
GGUF files of the architectures llama and qwen2 (github.com/ggml-org/llama.cpp at
gguf-py/gguf/constants.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.pretrained import Entry, Published, Weights, required_sizes
from jaxmodels.pretrained.names import linear, norm, rotary_pairs

# Ours and theirs of what both have.
_SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "head_size": "head_dim",
    "hidden": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
    "context": "max_position_embeddings",
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
# What counts where a number is absent.
_ABSENT = {"rms_norm_eps": 1e-6, "max_position_embeddings": 2048, "rope.freq_base": 10_000.0}
_KINDS = ("llama", "qwen2")
_ARCHITECTURE = "general.architecture"  # of a GGUF file
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
}
_GGUF_FIXED = {"rope.scaling.type": ("none",), "expert_count": (0,)}
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


def is_published(weights: Weights) -> bool:
    """Whether these are weights of a Llama-like decoder."""
    kind = weights.config.get(_ARCHITECTURE) or weights.config.get("model_type", _KINDS[0])
    first = ("layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight")
    return kind in _KINDS and any(name.endswith(first) for name in weights)


def published(config: LlamaConfig, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `Llama`.

    names: those of the file, which tell whether it is a GGUF file. There queries and keys of Llama,
      not of Qwen2, are stored with the two numbers of a rotary pair side by side.
    """
    sizes = config.sizes()
    gguf = "token_embd.weight" in names
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


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights, or the metadata of a GGUF file, as flags: those of
    `LlamaConfig`, with "model" and "context".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    config = weights.config
    if _ARCHITECTURE in config:
        # Nothing but the absence of its head says that a GGUF file's is tied.
        tied = f"{_OUTSIDE['head'][1]}.weight" not in weights
        return {"model": "llama", **_flags_of_gguf(weights), "tied": tied}
    sizes = _sizes_of(weights, config, _SIZES, _FIXED)
    tied = bool(config.get("tie_word_embeddings", False))
    kind = config.get("model_type", _KINDS[0])
    return {
        "model": "llama",
        **sizes,
        **_rotary_flags(config),
        "qkv_bias": kind == "qwen2",
        "tied": tied,
    }


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


def _flags_of_gguf(weights: Weights) -> dict[str, Any]:
    kind = weights.config[_ARCHITECTURE]
    prefix = f"{kind}."
    own = {
        name.removeprefix(prefix): value
        for name, value in weights.config.items()
        if name.startswith(prefix)
    }
    sizes = _sizes_of(weights, own, _GGUF_SIZES, _GGUF_FIXED)
    for name in ("norm_epsilon", "rotary_base"):
        # Stored as float32, whose shortest decimals are the number meant.
        sizes[name] = float(str(np.float32(sizes[name])))
    return {**sizes, "rotary_factor": 1.0, "qkv_bias": kind == "qwen2"}


def _sizes_of(
    weights: Weights,
    config: Mapping[str, Any],
    names: Mapping[str, str],
    fixed: Mapping[str, tuple],
) -> dict[str, Any]:
    """Reads sizes, with those that follow from others where they are absent."""
    given = {name: value for name, value in config.items() if value is not None}
    if given:
        follows = {names["head_size"]: 0, names["key_value_heads"]: given.get(names["heads"])}
        given = {**follows, **_ABSENT, **given}
    return required_sizes(replace(weights, config=given), names, fixed)


def published_config(
    config: LlamaConfig, vocabulary: int, context: int, end: int | None = None
) -> dict[str, Any]:
    """Makes the config.json of a `Llama`, which transformers reads.

    end: the token that ends a text.
    """
    sizes = {**config.sizes(), "context": context}
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
        **{theirs: sizes[ours] for ours, theirs in _SIZES.items()},
        "head_dim": sizes["head_size"] or sizes["width"] // sizes["heads"],
        "hidden_act": "silu",
        "tie_word_embeddings": sizes["tied"],
        # Older versions of transformers read the first two, newer ones the third.
        "rope_theta": sizes["rotary_base"],
        "rope_scaling": None if rotary["rope_type"] == "default" else rotary,
        "rope_parameters": rotary,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }
    return found
