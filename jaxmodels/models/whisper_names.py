"""The names of Whisper's published weights, and what stands beside them, as flags of ours.

They are those of transformers' WhisperForConditionalGeneration and WhisperModel, and those of
CTranslate2's WhisperSpec, whose config.json has no sizes: its arrays tell them.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.models.whisper import WhisperConfig
from jaxmodels.models.whisper_rules import Writing
from jaxmodels.pretrained import Entry, Layout, Published, Weights, required_sizes
from jaxmodels.pretrained.names import CONVOLUTION_1D, PLAIN, TRANSPOSED, fused, linear, norm

_SIZES = {
    "layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "width": "d_model",
    "heads": "encoder_attention_heads",
    "bands": "num_mel_bins",
    "sounds": "max_source_positions",
    "context": "max_target_positions",
    "token_rows": "vocab_size",
}
_KIND = "whisper"
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {
    "activation_function": ("gelu",),
    "scale_embedding": (False,),
    "tie_word_embeddings": (True,),
}
_GELU = 3  # the number of the exact one in CTranslate2


def is_published(weights: Weights) -> bool:
    """Whether these are weights of Whisper."""
    return _is_ctranslate2(weights) or (
        weights.config.get("model_type", _KIND) == _KIND
        and any(name.endswith("encoder.conv1.weight") for name in weights)
    )


def published(config: WhisperConfig, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `Whisper`; `names`, of the file, tell the style."""
    sizes = config.sizes()
    if _is_ctranslate2(names):
        return _ctranslate2(sizes["layers"], sizes["decoder_layers"])
    return _transformers(sizes["layers"], sizes["decoder_layers"])


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads what stands beside weights as flags: those of `WhisperConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    if _is_ctranslate2(weights):
        return {"model": _KIND, **_sizes_of_ctranslate2(weights), **_rules(weights, "_ids")}
    sizes = required_sizes(weights, _SIZES, _FIXED)
    hidden = {weights.config.get(f"{part}_ffn_dim") for part in ("encoder", "decoder")}
    if hidden - {None, 4 * sizes["width"]}:
        raise InputError(
            f"{weights.path}: {_widths(hidden)}; expected {4 * sizes['width']}, 4 times the width"
        )
    heads = weights.config.get("decoder_attention_heads", sizes["heads"])
    if heads != sizes["heads"]:
        raise InputError(
            f"{weights.path}: decoder_attention_heads = {heads}; expected {sizes['heads']}, as the"
            " encoder has"
        )
    return {"model": _KIND, **sizes, **_rules(weights, "_tokens")}


def published_config(
    config: WhisperConfig, vocabulary: int, start: int, end: int
) -> dict[str, Any]:
    """Makes the config.json of a `Whisper`, which transformers reads.

    start, end: the tokens with which a text begins and ends.
    """
    values = {name: getattr(config, name) for name in _SIZES} | config.sizes()
    values |= {"token_rows": config.token_rows or vocabulary, "sounds": config.places}
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": _KIND,
        **{theirs: values[ours] for ours, theirs in _SIZES.items()},
        "decoder_attention_heads": values["heads"],
        **{f"{part}_ffn_dim": 4 * values["width"] for part in ("encoder", "decoder")},
        **{name: fixed[0] for name, fixed in _FIXED.items()},
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "suppress_tokens": list(config.suppressed),
        "begin_suppress_tokens": list(config.begin_suppressed),
    }


def generation_config(config: WhisperConfig, writing: Writing) -> dict[str, Any]:
    """Makes the generation_config.json of a `Whisper`, by which transformers begins a text as
    `writing` does."""
    start, *middle, no_times = writing.prompt
    several = {}
    if middle:
        language, task = middle
        several = {
            "lang_to_id": {f"<|{config.language}|>": language},
            "language": f"<|{config.language}|>",
            "task": "transcribe",
            "task_to_id": {"transcribe": task},
        }
    return {
        "begin_suppress_tokens": list(config.begin_suppressed),
        "bos_token_id": writing.end,
        "decoder_start_token_id": start,
        "eos_token_id": writing.end,
        "is_multilingual": bool(middle),
        "max_length": config.context,
        "no_timestamps_token_id": no_times,
        "pad_token_id": writing.end,
        "return_timestamps": False,
        "suppress_tokens": list(config.suppressed),
        **several,
    }


def _is_ctranslate2(names: Collection[str]) -> bool:
    return "encoder/conv1/weight" in names


def _widths(hidden: set) -> str:
    """Names the widths of MLPs, for a message."""
    return " and ".join(f"ffn_dim = {size}" for size in sorted(hidden - {None}))


def _rules(weights: Weights, ending: str) -> dict[str, Any]:
    """Reads which tokens are not written, from the config.json or, where newer versions of
    transformers put them, the generation_config.json beside it."""
    config = dict(weights.config)
    for file in weights.files[:1]:
        beside = read_json(file.with_name("generation_config.json"))
        if isinstance(beside, dict):
            config = {**config, **{name: value for name, value in beside.items() if value}}
    suppressed = config.get(f"suppress{ending}") or ()
    begin = "suppress_ids_begin" if ending == "_ids" else "begin_suppress_tokens"
    at_first = config.get(begin) or ()
    return {"suppressed": tuple(suppressed), "begin_suppressed": tuple(at_first)}


def _sizes_of_ctranslate2(weights: Weights) -> dict[str, Any]:
    fixed = {
        "encoder/activation": _GELU,
        "decoder/activation": _GELU,
        "decoder/pre_norm": 1,
        "decoder/scale_embeddings": 0,
    }
    for name, value in fixed.items():
        if weights.config.get(name, value) != value:
            raise InputError(f"{weights.path}: {name} = {weights.config[name]}; expected {value}")
    heads = [weights.config.get(f"{part}/num_heads") for part in ("encoder", "decoder")]
    if heads[0] is None or heads[0] != heads[1]:
        raise InputError(f"{weights.path}: heads = {heads}; expected one number for both parts")
    width, bands, _ = weights["encoder/conv1/weight"].shape

    def layers(part):
        found = {name.split("/")[1] for name in weights if name.startswith(f"{part}/layer_")}
        return len(found - {"layer_norm"})

    return {
        "layers": layers("encoder"),
        "decoder_layers": layers("decoder"),
        "width": width,
        "heads": heads[0],
        "bands": bands,
        "sounds": weights["encoder/position_encodings/encodings"].shape[0],
        "context": weights["decoder/position_encodings/encodings"].shape[0],
        "token_rows": weights["decoder/embeddings/weight"].shape[0],
    }


def _transformers(layers: int, decoder_layers: int) -> Published:
    entries = [
        *_conv("encoder.conv1.{}", "conv1"),
        *_conv("encoder.conv2.{}", "conv2"),
        _table("encoder.embed_positions.weight", "sound_positions"),
        _table("decoder.embed_tokens.weight", "token_embedding"),
        _table("decoder.embed_positions.weight", "positions"),
        *norm("encoder.layer_norm", "encoder_norm"),
        *norm("decoder.layer_norm", "decoder_norm"),
    ]
    for index in range(layers):
        name, path = f"encoder.layers.{index}", f"encoder_block_{index}"
        entries += _attention(f"{name}.self_attn", f"{path}/attention")
        entries += norm(f"{name}.self_attn_layer_norm", f"{path}/norm1")
        entries += _mlp(name, path, "norm2")
    for index in range(decoder_layers):
        name, path = f"decoder.layers.{index}", f"decoder_block_{index}"
        entries += _attention(f"{name}.self_attn", f"{path}/attention")
        entries += norm(f"{name}.self_attn_layer_norm", f"{path}/norm1")
        entries += _attention(f"{name}.encoder_attn", f"{path}/sounds")
        entries += norm(f"{name}.encoder_attn_layer_norm", f"{path}/norm2")
        entries += _mlp(name, path, "norm3")
    tied = {"proj_out.weight": "decoder.embed_tokens.weight"}
    return Published(tuple(entries), tied=tied, prefixes=("model.", ""))


def _attention(name: str, path: str) -> list[Entry]:
    entries: list[Entry] = []
    for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        entries += linear(f"{name}.{theirs}", f"{path}/{ours}", bias=ours != "key")
    return [*entries, *linear(f"{name}.out_proj", f"{path}/out")]


def _mlp(name: str, path: str, norm_name: str) -> list[Entry]:
    return [
        *linear(f"{name}.fc1", f"{path}/mlp/linear1"),
        *linear(f"{name}.fc2", f"{path}/mlp/linear2"),
        *norm(f"{name}.final_layer_norm", f"{path}/{norm_name}"),
    ]


def _ctranslate2(layers: int, decoder_layers: int) -> Published:
    entries = [
        *_conv("encoder/conv1/{}", "conv1"),
        *_conv("encoder/conv2/{}", "conv2"),
        _table("encoder/position_encodings/encodings", "sound_positions"),
        _table("decoder/embeddings/weight", "token_embedding"),
        _table("decoder/position_encodings/encodings", "positions"),
        *_norm("encoder/layer_norm", "encoder_norm"),
        *_norm("decoder/layer_norm", "decoder_norm"),
    ]
    for index in range(layers):
        name, path = f"encoder/layer_{index}", f"encoder_block_{index}"
        entries += _fused_attention(f"{name}/self_attention", f"{path}/attention", "norm1")
        entries += _fused_mlp(f"{name}/ffn", path, "norm2")
    for index in range(decoder_layers):
        name, path = f"decoder/layer_{index}", f"decoder_block_{index}"
        entries += _fused_attention(f"{name}/self_attention", f"{path}/attention", "norm1")
        entries += _cross_attention(f"{name}/attention", f"{path}/sounds", "norm2")
        entries += _fused_mlp(f"{name}/ffn", path, "norm3")
    tied = {"decoder/projection/weight": "decoder/embeddings/weight"}
    return Published(tuple(entries), tied=tied)


def _fused_attention(name: str, path: str, norm_name: str) -> list[Entry]:
    kernels = tuple(f"params/{path}/{part}/kernel" for part in ("query", "key", "value"))
    biases = tuple(f"params/{path}/{part}/bias" for part in ("query", "value"))
    return [
        *_norm(f"{name}/layer_norm", f"{path.rpartition('/')[0]}/{norm_name}"),
        Entry(f"{name}/linear_0/weight", kernels, fused(3, transposed=True)),
        Entry(f"{name}/linear_0/bias", biases, _without_part(3, 1)),
        *_linear(f"{name}/linear_1", f"{path}/out"),
    ]


def _cross_attention(name: str, path: str, norm_name: str) -> list[Entry]:
    kernels = tuple(f"params/{path}/{part}/kernel" for part in ("key", "value"))
    return [
        *_norm(f"{name}/layer_norm", f"{path.rpartition('/')[0]}/{norm_name}"),
        *_linear(f"{name}/linear_0", f"{path}/query"),
        Entry(f"{name}/linear_1/weight", kernels, fused(2, transposed=True)),
        Entry(f"{name}/linear_1/bias", (f"params/{path}/value/bias",), _without_part(2, 0)),
        *_linear(f"{name}/linear_2", f"{path}/out"),
    ]


def _fused_mlp(name: str, path: str, norm_name: str) -> list[Entry]:
    return [
        *_norm(f"{name}/layer_norm", f"{path}/{norm_name}"),
        *_linear(f"{name}/linear_0", f"{path}/mlp/linear1"),
        *_linear(f"{name}/linear_1", f"{path}/mlp/linear2"),
    ]


def _without_part(parts: int, zero: int) -> Layout:
    """Makes the layout of fused biases of which part number `zero`, that of the keys, is zero."""

    def inward(array: np.ndarray) -> tuple[np.ndarray, ...]:
        found = np.split(array, parts)
        if np.any(found[zero]):
            raise InputError("the weights have keys with a bias; expected zeros, as Whisper's are")
        return tuple(part for number, part in enumerate(found) if number != zero)

    def outward(*arrays: np.ndarray) -> np.ndarray:
        others = [*arrays]
        others.insert(zero, np.zeros_like(others[0]))
        return np.concatenate(others)

    return Layout(inward, outward)


def _norm(name: str, path: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{name}/gamma", (f"params/{path}/scale",)),
        Entry(f"{name}/beta", (f"params/{path}/bias",)),
    )


def _linear(name: str, path: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{name}/weight", (f"params/{path}/kernel",), TRANSPOSED),
        Entry(f"{name}/bias", (f"params/{path}/bias",)),
    )


def _conv(name: str, path: str) -> tuple[Entry, ...]:
    return (
        Entry(name.format("weight"), (f"params/{path}/kernel",), CONVOLUTION_1D),
        Entry(name.format("bias"), (f"params/{path}/bias",), PLAIN),
    )


def _table(name: str, path: str) -> Entry:
    return Entry(name, (f"params/{path}/embedding",))
