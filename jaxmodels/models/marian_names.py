"""The names of Marian's published weights, and its config.json as flags of ours.

They are those of transformers' MarianMTModel.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmodels.errors import InputError
from jaxmodels.models.marian import MarianConfig
from jaxmodels.pretrained import Entry, Published, Weights, required_sizes
from jaxmodels.pretrained.names import LEADING_ONE, linear, norm

_SIZES = {
    "layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "width": "d_model",
    "heads": "encoder_attention_heads",
    "hidden": "encoder_ffn_dim",
    "context": "max_position_embeddings",
}
# What the network here has once for both sides.
_SAME = {"heads": "decoder_attention_heads", "hidden": "decoder_ffn_dim"}
_KIND = "marian"
_ACTIVATIONS = {"swish": "silu", "silu": "silu", "relu": "relu", "gelu": "gelu"}
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {
    "scale_embedding": (True,),
    "share_encoder_decoder_embeddings": (True,),
    "tie_word_embeddings": (True,),
    "normalize_embedding": (False,),
    "normalize_before": (False,),
    "add_final_layer_norm": (False,),
    "static_position_embeddings": (True,),
}
_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
_LONGEST_WAVE = 10_000


def is_published(weights: Weights) -> bool:
    """Whether these are weights of Marian."""
    return weights.config.get("model_type", _KIND) == _KIND and "final_logits_bias" in weights


def published(config: MarianConfig, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `Marian`.

    names: those of the file, which tell whether it has the positions, as old ones do.
    """
    sizes = config.sizes()
    bias = ("params/head_bias/bias",)
    entries = [
        Entry("final_logits_bias", bias, LEADING_ONE, outside=True),
        Entry("shared.weight", ("params/embedding/embedding",)),
    ]
    for side, layers in (("encoder", sizes["layers"]), ("decoder", sizes["decoder_layers"])):
        for index in range(layers):
            entries += _block(f"{side}.layers.{index}", f"{side}_block_{index}")
    sides = ("encoder", "decoder")
    positions = [f"{side}.embed_positions.weight" for side in sides]
    sines = sinusoids_published(config.context, sizes["width"])
    return Published(
        tuple(entries),
        {name: "shared.weight" for name in ("lm_head.weight", *map(_embedding, sides))},
        prefixes=("model.",),
        constants={name: sines for name in positions if f"model.{name}" in names},
    )


def _embedding(side: str) -> str:
    return f"{side}.embed_tokens.weight"


def _block(name: str, path: str) -> list[Entry]:
    kinds = {"self_attn": ""} | ({"encoder_attn": "cross_"} if name.startswith("decoder") else {})
    entries = []
    for module, prefix in kinds.items():
        for ours, theirs in _ATTENTION.items():
            entries += linear(f"{name}.{module}.{theirs}", f"{path}/{prefix}{ours}")
        last = f"{path}/{'norm3' if prefix else 'norm1'}"
        entries += norm(f"{name}.{module}_layer_norm", last)
    entries += linear(f"{name}.fc1", f"{path}/linear1")
    entries += linear(f"{name}.fc2", f"{path}/linear2")
    return [*entries, *norm(f"{name}.final_layer_norm", f"{path}/norm2")]


def sinusoids_published(context: int, width: int) -> Float[np.ndarray, "context width"]:
    """Computes sinusoidal positions as files have them: the sines, then the cosines."""
    frequencies = 1 / np.power(_LONGEST_WAVE, np.arange(0, width, 2) / width)
    angles = np.arange(context)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights as flags: those of `MarianConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    sizes = required_sizes(weights, _SIZES, _FIXED)
    config = weights.config
    for ours, theirs in _SAME.items():
        if config.get(theirs, sizes[ours]) != sizes[ours]:
            raise InputError(
                f"{weights.path}: {theirs} = {config[theirs]}, {_SIZES[ours]} = {sizes[ours]};"
                " expected equal ones, which is all that marian has here"
            )
    activation = config.get("activation_function", "gelu")
    if activation not in _ACTIVATIONS:
        raise InputError(
            f"{weights.path}: activation_function = {activation}; expected one of"
            f" {', '.join(_ACTIVATIONS)}"
        )
    return {"model": _KIND, **sizes, "activation": _ACTIVATIONS[activation]}


def published_config(
    config: MarianConfig, vocabulary: int, begin: int, end: int, padding: int
) -> dict[str, Any]:
    """Makes the config.json of a `Marian`, which transformers reads.

    begin, end, padding: the tokens before and after a text, and behind it.
    """
    sizes = {**config.sizes(), "context": config.context}
    return {
        "architectures": ["MarianMTModel"],
        "model_type": _KIND,
        "vocab_size": vocabulary,
        "decoder_vocab_size": vocabulary,
        **{theirs: sizes[ours] for names in (_SIZES, _SAME) for ours, theirs in names.items()},
        "activation_function": config.activation,
        **{name: values[0] for name, values in _FIXED.items()},
        "is_encoder_decoder": True,
        "decoder_start_token_id": begin,
        "eos_token_id": end,
        "forced_eos_token_id": end,
        "pad_token_id": padding,
        "dtype": "float32",
    }
