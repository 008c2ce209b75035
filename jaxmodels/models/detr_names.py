"""The names of DETR's published weights, those of transformers' DetrForObjectDetection."""

from collections.abc import Collection, Iterator
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models import resnet_names
from jaxmodels.models.detr import DETRConfig
from jaxmodels.models.fcos import RESNETS
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.pretrained import Entry, Published, Weights
from jaxmodels.pretrained.names import BATCH_COUNT, batch_norm, convolution, linear, norm

# Before the names of the backbone: of transformers 5, and of 4 and the files of its authors.
_BACKBONES = ("model.backbone.model.", "model.backbone.conv_encoder.model.")
# Pixels of pictures in evaluations (Carion et al. 2020, section 4).
SHORTER_SIDE = 800
_OLD_OUT = "model.encoder.layers.0.self_attn.out_proj.weight"


def is_published(weights: Weights) -> bool:
    """Whether these are weights of a DETR."""
    return {"model.input_projection.weight", "class_labels_classifier.weight"} <= weights.keys()


def published(config: DETRConfig, names: Collection[str] = ()) -> Published:
    """Makes the table of names of a `DETR`.

    names: of the file that is read, which tell its style; without any, it is transformers 5's.

    Raises:
      InputError: a backbone other than a ResNet.
    """
    if config.backbone not in RESNETS:
        raise InputError(
            f"backbone = {config.backbone}; DETR is published with {', '.join(RESNETS)}"
        )
    is_old = _OLD_OUT in names
    entries = [*_backbone(config, names)]
    entries += convolution("model.input_projection", "input_projection")
    entries.append(Entry("model.query_position_embeddings.weight", ("params/queries",)))
    for kind, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        for number in range(layers):
            entries += _layer(f"model.{kind}.layers.{number}", f"{kind}_{number}", kind, is_old)
    entries += norm("model.decoder.layernorm", "decoder_norm")
    entries += linear("class_labels_classifier", "class")
    for number in range(3):
        entries += linear(f"bbox_predictor.layers.{number}", f"box_{number}")
    return Published(tuple(entries), ignored=(rf"\.{BATCH_COUNT}$",))


def _layer(name: str, path: str, kind: str, is_old: bool) -> Iterator[Entry]:
    """Yields the entries of a layer of the encoder or the decoder."""
    out, mlp = ("out_proj", "") if is_old else ("o_proj", "mlp.")
    attentions = {"self_attn": "self"} | ({"encoder_attn": "cross"} if kind == "decoder" else {})
    for theirs, ours in attentions.items():
        parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", out: "out"}
        for part, our_part in parts.items():
            yield from linear(f"{name}.{theirs}.{part}", f"{path}/{ours}_{our_part}")
        yield from norm(f"{name}.{theirs}_layer_norm", f"{path}/{ours}_norm")
    for number in (1, 2):
        yield from linear(f"{name}.{mlp}fc{number}", f"{path}/linear_{number - 1}")
    yield from norm(f"{name}.final_layer_norm", f"{path}/norm")


def _backbone(config: DETRConfig, names: Collection[str]) -> Iterator[Entry]:
    """Yields the entries of the backbone, which timm or transformers names."""
    prefix = next((p for p in _BACKBONES if any(n.startswith(p) for n in names)), _BACKBONES[0])
    style = "torchvision" if f"{prefix}conv1.weight" in names else "transformers"
    sizes = ResNetConfig(variant=RESNETS[config.backbone]).sizes()
    pairs = resnet_names.named_pairs(style, sizes["depths"], sizes["bottleneck"])
    for convolved, normalized, path in pairs:
        yield from (
            *convolution(f"{prefix}{convolved}", f"backbone/{path}/conv", bias=False),
            *batch_norm(f"{prefix}{normalized}", f"backbone/{path}/norm"),
        )


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights as flags of `DETRConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have.
    """
    told = weights.config
    fixed = {"position_embedding_type": "sine", "activation_function": "relu", "dilation": False}
    for name, expected in fixed.items():
        if told.get(name, expected) not in (expected, None):
            raise InputError(f"{weights.path}: {name} = {told[name]}; expected {expected}")
    for name in ("attention_heads", "ffn_dim"):
        if told.get(f"encoder_{name}") != told.get(f"decoder_{name}"):
            raise InputError(f"{weights.path}: encoder_{name} is not decoder_{name}")
    return {
        "model": "detr",
        "backbone": _backbone_of(weights),
        "width": told.get("d_model", 256),
        "heads": told.get("encoder_attention_heads", 8),
        "hidden": told.get("encoder_ffn_dim", 2048),
        "encoder_layers": told.get("encoder_layers", 6),
        "decoder_layers": told.get("decoder_layers", 6),
        "queries": weights["model.query_position_embeddings.weight"].shape[0],
    }


def _backbone_of(weights: Weights) -> str:
    """Tells the ResNet by the blocks of its third stage and by whether these are bottlenecks."""
    prefix = next(p for p in _BACKBONES if any(name.startswith(p) for name in weights))
    blocks = {
        name.removeprefix(prefix).split(".")[1 if "layer3." in name else 4]
        for name in weights
        if name.startswith((f"{prefix}layer3.", f"{prefix}encoder.stages.2.layers."))
    }
    is_bottleneck = any(
        n.endswith(("layer1.0.conv3.weight", "0.layers.0.layer.2.convolution.weight"))
        for n in weights
    )
    for name, depth in RESNETS.items():
        sizes = ResNetConfig(variant=depth).sizes()
        if sizes["depths"][2] == len(blocks) and sizes["bottleneck"] == is_bottleneck:
            return name
    raise InputError(f"{weights.path} has another backbone; expected one of {', '.join(RESNETS)}")
