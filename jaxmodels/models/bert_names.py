"""The names of BERT's and RoBERTa's published weights, and their config.json as flags of ours.

They are those of transformers' BertModel, BertForSequenceClassification, BertForTokenClassification
and of the same of RoBERTa.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.models.bert import BertConfig
from jaxmodels.pretrained import Entry, Published, Weights, required_sizes
from jaxmodels.pretrained.configs import labels
from jaxmodels.pretrained.names import Layout, linear, norm

# Ours and theirs of what both have.
_SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "token_rows": "vocab_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "norm_epsilon": "layer_norm_eps",
}
_KINDS = {"bert": False, "roberta": True}
# Fields of config.json with the only values that the network here implements; the first of them
# counts where the field is absent.
_FIXED = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}


def is_published(weights: Weights) -> bool:
    """Whether these are weights of BERT or RoBERTa."""
    return weights.config.get("model_type", "bert") in _KINDS and any(
        name.endswith("encoder.layer.0.attention.self.query.weight") for name in weights
    )


def published(
    config: BertConfig,
    names: Collection[str] = (),
    *,
    classifier: bool = True,
    pooler: bool | None = None,
    tagger: bool = False,
) -> Published:
    """Makes the table of names of a `BertClassifier`, or of a `Bert`; `names`, of the file, do not
    matter.

    Names of heads that the network does not have are ignored.

    pooler: whether it has one; None: a classifier as the config says, a `Bert` always.
    tagger: of a `BertTagger`, a classifier of each token, which has no pooler.
    """
    root = "bert/" if classifier else ""
    kind = "roberta." if config.roberta else "bert."
    pooled = (not classifier or config.pool == "first") if pooler is None else pooler
    pooled = pooled and not tagger
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
    own_layer = classifier and config.roberta and not tagger
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


def for_labels(table: Published, weights: Weights, classes: Sequence[str]) -> Published:
    """Changes a table of names so that the head of published weights gives `classes` in their
    order; a head of other classes is not taken."""
    named = weights.config.get("id2label") or {}
    theirs = [str(named.get(str(number))) for number in range(len(named))]
    if not theirs or theirs == list(classes):
        return table
    heads = [entry for entry in table.entries if entry.paths[0].startswith("params/head/")]
    others = tuple(entry for entry in table.entries if entry not in heads)
    if sorted(theirs) != sorted(classes):
        ignored = (*table.ignored, *(f"^{re.escape(head.name)}$" for head in heads))
        return replace(table, entries=others, ignored=ignored)
    order = [theirs.index(name) for name in classes]
    back = [list(classes).index(name) for name in theirs]

    def ordered(entry: Entry) -> Entry:
        inward, outward = entry.layout.inward, entry.layout.outward
        layout = Layout(
            lambda array: inward(array[order]), lambda array: outward(array)[np.array(back)]
        )
        return replace(entry, layout=layout)

    return replace(table, entries=(*others, *map(ordered, heads)))


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads the config.json beside weights as flags: those of `BertConfig`, with "model".

    Raises:
      InputError: a field that the network here does not have, or one that is missing.
    """
    kind = weights.config.get("model_type", "bert")
    if kind not in _KINDS:
        raise InputError(f"{weights.path}: model_type = {kind}; expected {' or '.join(_KINDS)}")
    sizes = required_sizes(weights, _SIZES, _FIXED)
    return {"model": "bert", "roberta": _KINDS[kind], **sizes}


def published_config(
    config: BertConfig, vocabulary: int, classes: Sequence[str] = (), *, tagger: bool = False
) -> dict[str, Any]:
    """Makes the config.json of a network, which transformers reads.

    classes: names of the classes of a classifier; empty: the encoder alone.
    tagger: it classifies each token.

    Raises:
      InputError: a classifier of the mean over tokens, which transformers does not have.
    """
    kind = "roberta" if config.roberta else "bert"
    architecture = "Model"
    if classes and tagger:
        architecture = "ForTokenClassification"
    elif classes:
        architecture = "ForSequenceClassification"
        if config.pool != "first":
            raise InputError(
                f"pool = {config.pool}; transformers has no such classifier: expected first, or the"
                " encoder alone"
            )
    values = {name: getattr(config, name) for name in _SIZES} | config.sizes()
    values["token_rows"] = vocabulary
    found: dict[str, Any] = {
        "architectures": [{"bert": "Bert", "roberta": "Roberta"}[kind] + architecture],
        "model_type": kind,
        **{theirs: values[ours] for ours, theirs in _SIZES.items()},
        **{name: values[0] for name, values in _FIXED.items()},
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 1 if config.roberta else 0,
    }
    if config.roberta:
        found |= {"bos_token_id": 0, "eos_token_id": 2}
    return found | (labels(classes) if classes else {})


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
