"""The tokenizer of a GGUF file, as the files in which the `tokenizers` library keeps one.

A GGUF file has a byte-level vocabulary (Radford et al. 2019, section 2.2), its merges, and the name
of the rule that divides text before it is merged (github.com/ggml-org/llama.cpp at
src/llama-vocab.cpp, llm_tokenizer_bpe).
"""

import json
from collections.abc import Mapping
from typing import Any

from jaxmodels.errors import InputError

_CONTROL, _OWN_WORD = 3, 4  # types of tokens that are not made by merges
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(use_regex: bool) -> dict[str, Any]:
    options = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **options}


def _divided(pattern: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return [{**split, "invert": False}, _bytes(False)]


_DIGITS = [{"type": "Digits", "individual_digits": True}, _bytes(True)]
# The rules as the published tokenizer.json of these models have them.
_RULES: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_bytes(True)],
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "llama-bpe": _divided(_WORDS % "{1,3}"),
    "qwen2": _divided(_WORDS % ""),
}


def tokenizer_files(metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Makes the text of a tokenizer.json and the content of a tokenizer_config.json.

    metadata: that of a GGUF file.

    Raises:
      InputError: a tokenizer of another kind, or a rule that is not known here.
    """

    def get(name: str, default: Any = None) -> Any:
        return metadata.get(f"tokenizer.ggml.{name}", default)

    kind, rule, tokens = get("model"), get("pre", "gpt-2"), get("tokens")
    if kind != "gpt2" or tokens is None or get("merges") is None:
        raise InputError(
            f"tokenizer.ggml.model = {kind}; expected gpt2, a byte-level vocabulary with merges:"
            " name the model's tokenizer.json with --tokenizer"
        )
    if rule not in _RULES:
        raise InputError(
            f"tokenizer.ggml.pre = {rule}; expected one of {', '.join(_RULES)}: name the model's"
            " tokenizer.json with --tokenizer"
        )
    types = get("token_type", [1] * len(tokens))
    content = _content(tokens, types, get("merges"), rule)
    config = {
        f"{name}_token": tokens[token]
        for name, of in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if (token := get(f"{of}_token_id")) is not None and 0 <= token < len(tokens)
    }
    if (template := metadata.get("tokenizer.chat_template")) is not None:
        config["chat_template"] = template
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n", config


def _content(tokens: list[str], types: list[int], merges: list[str], rule: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": token, "content": text, **flags, "special": type == _CONTROL}
        for token, (text, type) in enumerate(zip(tokens, types, strict=True))
        if type in (_CONTROL, _OWN_WORD)
    ]
    parts = _RULES[rule]
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if rule == "qwen2" else None,
        "pre_tokenizer": parts[0]
        if len(parts) == 1
        else {"type": "Sequence", "pretokenizers": parts},
        "post_processor": None,
        "decoder": {**decoder, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # Llama 3 has words that no merge makes.
            "ignore_merges": rule == "llama-bpe",
            "vocab": {text: token for token, text in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }
