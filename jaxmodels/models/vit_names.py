"""The names of ViT's published weights, and its config.json as flags of ours.

They are those of transformers' ViTForImageClassification, torchvision's VisionTransformer and
timm's vision transformers.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.vit import ViTConfig, sincos_positions
from jaxmodels.pretrained import Entry, Published, Weights, labels, required_sizes
from jaxmodels.pretrained.names import (
    LEADING_ONE,
    LEADING_ONES,
    flattened_convolution,
    fused,
    linear,
    norm,
)

STYLES = ("transformers", "torchvision", "timm")
_KIND = "vit"
_SIZES = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "patch": "patch_size",
}
_FIXED = {"hidden_act": ("gelu",), "qkv_bias": (True,)}
_NAMES: Mapping[str, Mapping[str, str]] = {
    "transformers": {
        "embedding": "embeddings.patch_embeddings.projection",
        "token": "embeddings.cls_token",
        "positions": "embeddings.position_embeddings",
        "block": "encoder.layer.{}",
        "norm1": "layernorm_before",
        "query": "attention.attention.query",
        "key": "attention.attention.key",
        "value": "attention.attention.value",
        "out": "attention.output.dense",
        "norm2": "layernorm_after",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm": "layernorm",
        "head": "classifier",
    },
    "torchvision": {
        "embedding": "conv_proj",
        "token": "class_token",
        "positions": "encoder.pos_embedding",
        "block": "encoder.layers.encoder_layer_{}",
        "norm1": "ln_1",
        "fused": "self_attention.in_proj_",
        "out": "self_attention.out_proj",
        "norm2": "ln_2",
        "linear1": "mlp.0",
        "linear2": "mlp.3",
        "norm": "encoder.ln",
        "head": "heads.head",
    },
    "timm": {
        "embedding": "patch_embed.proj",
        "token": "cls_token",
        "positions": "pos_embed",
        "block": "blocks.{}",
        "norm1": "norm1",
        "fused": "attn.qkv.",
        "out": "attn.proj",
        "norm2": "norm2",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm": "norm",
        "head": "head",
    },
}
# The sizes of a head where the file does not tell how many there are, by width; others have 64.
_HEADS = {1280: 16, 1152: 16}


def is_published(weights: Weights) -> bool:
    """Whether these are weights of a ViT."""
    kind = weights.config.get("model_type", _KIND)
    return kind == _KIND and any(
        name.endswith(f"{names['embedding']}.weight")
        for names in _NAMES.values()
        for name in weights
    )


def _style_of(names: Collection[str]) -> str:
    for style in ("torchvision", "timm"):
        if f"{_NAMES[style]['embedding']}.weight" in names:
            return style
    return "transformers"


def published(
    config: ViTConfig, names: Collection[str] = (), style: str = STYLES[0], image_size: int = 0
) -> Published:
    """Makes the table of names of a `ViT`.

    names: of the file that is read, which tell its style; without any, `style` is what is written.
    image_size: the side of images, for positions that are not learned; 0: they are not written.

    Raises:
      InputError: an unknown style.
    """
    require_known("style", style, STYLES)
    theirs = _NAMES[_style_of(names) if names else style]
    sizes = config.sizes()
    embedding = theirs["embedding"]
    kernel = Entry(
        f"{embedding}.weight",
        ("params/embedding/kernel",),
        flattened_convolution(sizes["patch"]),
    )
    entries = [kernel, Entry(f"{embedding}.bias", ("params/embedding/bias",))]
    constants = {}
    if sizes["pool"] == "token":
        entries.append(Entry(theirs["token"], ("params/token",), LEADING_ONES))
    if sizes["positions"] == "learned":
        entries.append(Entry(theirs["positions"], ("params/positions/bias",), LEADING_ONE))
    elif image_size:
        rows = image_size // sizes["patch"]
        constants[theirs["positions"]] = np.asarray(
            sincos_positions(rows, rows, sizes["width"]), np.float32
        )[None]
    for index in range(sizes["depth"]):
        entries += _block(theirs, theirs["block"].format(index), f"block_{index}")
    entries += norm(theirs["norm"], "norm")
    entries += linear(theirs["head"], "head", outside=True)
    return Published(
        tuple(entries),
        # The layer over the class token of transformers' ViTModel, which classifiers leave out.
        ignored=(r"(^|\.)pooler\.dense\.",),
        prefixes=("vit.", "") if theirs is _NAMES["transformers"] else ("",),
        constants=constants,
    )


def _block(theirs: Mapping[str, str], name: str, path: str) -> list[Entry]:
    entries: list[Entry] = []
    parts = ("query", "key", "value")
    if "fused" in theirs:
        for suffix, leaf in (("weight", "kernel"), ("bias", "bias")):
            paths = tuple(f"params/{path}/attention/{part}/{leaf}" for part in parts)
            layout = fused(3, transposed=leaf == "kernel")
            entries.append(Entry(f"{name}.{theirs['fused']}{suffix}", paths, layout))
    else:
        for part in parts:
            entries += linear(f"{name}.{theirs[part]}", f"{path}/attention/{part}")
    entries += linear(f"{name}.{theirs['out']}", f"{path}/attention/out")
    for part in ("linear1", "linear2"):
        entries += linear(f"{name}.{theirs[part]}", f"{path}/{part}")
    for part in ("norm1", "norm2"):
        entries += norm(f"{name}.{theirs[part]}", f"{path}/{part}")
    return entries


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights, or where there is none their names and shapes, as flags
    of `ViTConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    style = _style_of(weights)
    if style == "transformers":
        sizes = required_sizes(weights, _SIZES, _FIXED)
        epsilon = float(weights.config.get("layer_norm_eps", 1e-12))
    else:
        sizes, epsilon = _sizes_of_shapes(weights, _NAMES[style]), 1e-6
    if sizes["hidden"] % sizes["width"]:
        raise InputError(
            f"{weights.path}: an MLP of width {sizes['hidden']}; expected a multiple of"
            f" {sizes['width']}"
        )
    theirs = _NAMES[style]
    has_token = any(name.endswith(theirs["token"]) for name in weights)
    return {
        "model": "vit",
        **{name: sizes[name] for name in ("patch", "width", "depth", "heads")},
        "mlp_ratio": sizes["hidden"] // sizes["width"],
        "norm_epsilon": epsilon,
        "pool": "token" if has_token else "mean",
        "positions": "learned",
    }


def _sizes_of_shapes(weights: Weights, theirs: Mapping[str, str]) -> dict[str, Any]:
    width, _, patch, _ = weights[f"{theirs['embedding']}.weight"].shape
    block = theirs["block"]
    last = f".{theirs['norm1']}.weight"
    depth = sum(name.endswith(last) and name.startswith(block.format("")) for name in weights)
    arguments = weights.config.get("model_args") or {}  # of timm
    heads = arguments.get("num_heads") or _HEADS.get(width, width // 64)
    if not heads or width % heads:
        raise InputError(
            f"{weights.path}: a width of {width} and no number of heads; expected num_heads in the"
            " model_args of a config.json beside it, as timm writes"
        )
    linear1 = f"{block.format(0)}.{theirs['linear1']}.weight"
    if linear1 not in weights:
        raise InputError(f"{weights.path} lacks {linear1}; expected a block's first linear layer")
    hidden = weights[linear1].shape[0]
    return {"width": width, "patch": patch, "depth": depth, "heads": heads, "hidden": hidden}


def published_config(
    config: ViTConfig,
    classes: Sequence[str],
    image_size: int,
    channels: int = 3,
    style: str = STYLES[0],
) -> dict[str, Any]:
    """Makes the config.json of a `ViT`, which transformers or timm reads; of torchvision's names,
    which have none, the classes alone.

    classes: their names. image_size: the side of images.

    Raises:
      InputError: options that the ViT of this style does not have.
    """
    sizes = config.sizes()
    is_standard = (sizes["pool"], sizes["positions"]) == ("token", "learned")
    if style != "timm" and not is_standard:
        raise InputError(
            f"pool = {sizes['pool']}, positions = {sizes['positions']}; {style} has ViTs with"
            " --pool token --positions learned only: export it as --naming timm"
        )
    if style == "timm":
        return _timm_config(config, classes, image_size, channels)
    if style == "torchvision":
        return {"model_type": "torchvision_vit", **labels(classes)}
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": _KIND,
        **{theirs: sizes[ours] for ours, theirs in _SIZES.items() if ours != "hidden"},
        "intermediate_size": sizes["width"] * sizes["mlp_ratio"],
        **{name: values[0] for name, values in _FIXED.items()},
        "layer_norm_eps": sizes["epsilon"],
        "image_size": image_size,
        "num_channels": channels,
        "dtype": "float32",
        **labels(classes),
    }


def _timm_config(
    config: ViTConfig, classes: Sequence[str], image_size: int, channels: int
) -> dict[str, Any]:
    """Makes the config.json that `timm.create_model("local-dir:FOLDER")` reads."""
    sizes = config.sizes()
    if sizes["pool"] == "token" and sizes["positions"] == "sincos":
        raise InputError(
            "pool = token, positions = sincos; timm has no ViT with a token that gets no position:"
            " train with --positions learned, or export it as --format stablehlo"
        )
    if sizes["epsilon"] != 1e-6:
        raise InputError(
            f"norm_epsilon = {sizes['epsilon']}; timm has 1e-06: export it as --naming transformers"
        )
    arguments = {
        "img_size": image_size,
        "patch_size": sizes["patch"],
        "in_chans": channels,
        "embed_dim": sizes["width"],
        "depth": sizes["depth"],
        "num_heads": sizes["heads"],
        "mlp_ratio": sizes["mlp_ratio"],
        "class_token": sizes["pool"] == "token",
        "global_pool": "token" if sizes["pool"] == "token" else "avg",
        "fc_norm": False,
    }
    return {
        "architecture": "vit_base_patch16_224",
        "num_classes": len(classes),
        "model_args": arguments,
        "label_names": list(classes),
    }
