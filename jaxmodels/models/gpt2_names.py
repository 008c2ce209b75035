"""The names of GPT-2's published weights, and its config.json as flags of ours.

They are those of transformers' GPT2LMHeadModel and GPT2Model.
"""

from collections.abc import Collection
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.pretrained import Entry, Published, Weights, required_sizes
from jaxmodels.pretrained.names import fused, norm, plain_linear

_SIZES = {"layers": "n_layer", "width": "n_embd", "heads": "n_head", "context": "n_positions"}
_KIND = "gpt2"
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


def is_published(weights: Weights) -> bool:
    """Whether these are weights of GPT-2."""
    return weights.config.get("model_type", _KIND) == _KIND and any(
        name.endswith("h.0.attn.c_attn.weight") for name in weights
    )


def published(config: GPT2Config, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `GPT2`; `names`, of the file, do not matter."""
    bias = config.bias
    entries = [
        Entry("wte.weight", ("params/token_embedding/embedding",)),
        Entry("wpe.weight", ("params/position_embedding/embedding",)),
    ]
    for index in range(config.sizes()["layers"]):
        name, block = f"h.{index}", f"block_{index}"
        parts = [f"params/{block}/{part}" for part in ("query", "key", "value")]
        kernels, biases = ([f"{p}/{leaf}" for p in parts] for leaf in ("kernel", "bias"))
        entries.append(Entry(f"{name}.attn.c_attn.weight", tuple(kernels), fused(3, axis=1)))
        if bias:
            entries.append(Entry(f"{name}.attn.c_attn.bias", tuple(biases), fused(3)))
        entries += norm(f"{name}.ln_1", f"{block}/norm1", bias=bias)
        entries += plain_linear(f"{name}.attn.c_proj", f"{block}/out", bias=bias)
        entries += norm(f"{name}.ln_2", f"{block}/norm2", bias=bias)
        entries += plain_linear(f"{name}.mlp.c_fc", f"{block}/linear1", bias=bias)
        entries += plain_linear(f"{name}.mlp.c_proj", f"{block}/linear2", bias=bias)
    entries += norm("ln_f", "norm", bias=bias)
    return Published(
        tuple(entries),
        tied={"lm_head.weight": "wte.weight"},
        # Masks of attention, which files of older versions have.
        ignored=(r"\.attn\.(bias|masked_bias)$",),
        prefixes=("transformer.", ""),
    )


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights as flags: those of `GPT2Config`, with "model" and
    "context".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    sizes = required_sizes(weights, _SIZES, _FIXED)
    inner = weights.config.get("n_inner")
    if inner not in (None, 4 * sizes["width"]):
        raise InputError(
            f"{weights.path}: n_inner = {inner}; expected {4 * sizes['width']}, 4 times the width"
        )
    return {"model": "gpt2", **sizes, "bias": True}


def published_config(
    config: GPT2Config, vocabulary: int, context: int, end: int | None = None
) -> dict[str, Any]:
    """Makes the config.json of a `GPT2`, which transformers reads.

    end: the token that ends a text.

    Raises:
      InputError: a model without biases, which transformers does not have.
    """
    if not config.bias:
        raise InputError(
            "bias = False; transformers' GPT-2 has biases: train with --bias, or use --model llama,"
            " which has none"
        )
    sizes = {**config.sizes(), "context": context}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": _KIND,
        "vocab_size": vocabulary,
        **{theirs: sizes[ours] for ours, theirs in _SIZES.items()},
        "n_inner": None,
        **{name: values[0] for name, values in _FIXED.items()},
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }
