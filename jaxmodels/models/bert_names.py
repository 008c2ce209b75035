"""The names of BERT's and RoBERTa's published weights, and their config.json as flags of ours.

They are those of transformers' BertModel, BertForSequenceClassification, RobertaModel and
RobertaForSequenceClassification.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models.bert import BertConfig
from jaxmodels.pretrained.names import Entry, Published, linear, norm

# Ours and theirs of what both have.
_SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "epsilon": "layer_norm_eps",
}
_KINDS = {"bert": False, "roberta": True}
# What the network here has one way only: as published, where the field is absent.
_FIXED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def published(
    config: BertConfig, *, classifier: bool = True, pooler: bool | None = None
) -> Published:
    """Makes the table of names of a `BertClassifier`, or of a `Bert`.

    Names of heads that the network does not have are ignored.

    pooler: whether it has one; None: a classifier as the config says, a `Bert` always.
    """
    root = "bert/" if classifier else ""
    kind = "roberta." if config.roberta else "bert."
    pooled = (not classifier or config.pool == "first") if pooler is None else pooler
    entries = [
        _table("word_embeddings", f"{root}token_embedding"),
        _table("position_embeddings", f"{root}position_embedding"),
        _table("token_type_embeddings", f"{root}segment_embedding"),
        *norm("embeddings.LayerNorm", f"{root}norm"),
    ]
    for index in range(config.sizes()["layers"]):
        entries += _block(f"encoder.layer.{index}", f"{root}block_{index}")
    ignored = [r"embeddings\.(position_ids|token_type_ids)$", r"^cls\.", r"^lm_head\."]
    # RoBERTa's head has the layer with tanh of its own.
    own_layer = classifier and config.roberta
    if pooled and own_layer:
        entries += linear("classifier.dense", f"{root}pool", outside=True)
    elif pooled:
        entries += linear("pooler.dense", f"{root}pool")
    if own_layer or not pooled:
        ignored.append(r"(^|\.)pooler\.")
    if classifier:
        head = "classifier.out_proj" if own_layer else "classifier"
        entries += linear(head, "head", outside=True)
    else:
        ignored.append(r"^classifier\.")
    prefixes = (kind, "") if classifier else ("", kind)
    return Published(tuple(entries), ignored=tuple(ignored), prefixes=prefixes)


def flags_from_published(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a config.json as flags of `BertConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    kind = config.get("model_type", "bert")
    if kind not in _KINDS:
        raise InputError(f"model_type = {kind}; expected {' or '.join(_KINDS)}")
    for name, only in _FIXED.items():
        if config.get(name, only) != only:
            raise InputError(
                f"{name} = {config[name]}; expected {only}, which is all BERT has here"
            )
    defaults = {"layer_norm_eps": 1e-12, "type_vocab_size": 2, "max_position_embeddings": 512}
    found = defaults | dict(config)
    missing = [name for name in (*_SIZES.values(), "vocab_size") if name not in found]
    if missing:
        raise InputError(f"config.json of {kind} lacks {', '.join(missing)}; expected numbers")
    flags = {ours: found[theirs] for ours, theirs in _SIZES.items()}
    return {"model": "bert", "roberta": _KINDS[kind], **flags}


def published_config(
    config: BertConfig, vocabulary: int, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """Makes the config.json of a network, which transformers reads.

    classes: names of the classes of a classifier; empty: the encoder alone.

    Raises:
      InputError: a classifier of the mean over tokens, which transformers does not have.
    """
    kind = "roberta" if config.roberta else "bert"
    architecture = "Model"
    if classes:
        architecture = "ForSequenceClassification"
        if config.pool != "first":
            raise InputError(
                f"pool = {config.pool}; transformers has no such classifier: expected first, or the"
                " encoder alone"
            )
    values = {name: getattr(config, name) for name in _SIZES} | config.sizes()
    found: dict[str, Any] = {
        "architectures": [{"bert": "Bert", "roberta": "Roberta"}[kind] + architecture],
        "model_type": kind,
        "vocab_size": vocabulary,
        **{theirs: values[ours] for ours, theirs in _SIZES.items()},
        **_FIXED,
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 1 if config.roberta else 0,
    }
    if config.roberta:
        found |= {"bos_token_id": 0, "eos_token_id": 2}
    if classes:
        found["id2label"] = {str(number): name for number, name in enumerate(classes)}
        found["label2id"] = {name: number for number, name in enumerate(classes)}
    return found


def _table(name: str, path: str) -> Entry:
    return Entry(f"embeddings.{name}.weight", (f"params/{path}/embedding",))


def _block(name: str, path: str) -> list[Entry]:
    entries: list[Entry] = []
    for part in ("query", "key", "value"):
        entries += linear(f"{name}.attention.self.{part}", f"{path}/{part}")
    entries += linear(f"{name}.attention.output.dense", f"{path}/out")
    entries += norm(f"{name}.attention.output.LayerNorm", f"{path}/norm1")
    entries += linear(f"{name}.intermediate.dense", f"{path}/linear1")
    entries += linear(f"{name}.output.dense", f"{path}/linear2")
    return [*entries, *norm(f"{name}.output.LayerNorm", f"{path}/norm2")]
