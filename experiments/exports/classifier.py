"""A classifier as a program of inputs as they are stored, which needs none of the preparation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, one_of
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.objectives.tagging import Tagging
from jaxmodels.pretrained.programs import Program, exports_of
from jaxmodels.protocol import Source

_MEANINGS = {
    "image": "pixels as they are stored, cut or resized to this size",
    "sound": "samples of 16 bits at the rate of the run, in the middle between zeros",
    "length": "samples of the sound without the zeros; with --level kept it changes nothing",
    "tokens": "numbers of tokens; -1 behind the end of the text",
    "segments": "numbers of the text of a pair that a token is of; 0 behind the end",
}
_LOGITS = "a number for each class, of which the softmax gives probabilities; of tags at each token"


def classifier_programs(
    classifier: Classifier | Tagging,
    prepare: Change,
    train: Source,
    labels: Sequence[str],
    facts: Mapping[str, Any] = MappingProxyType({}),
    beside: Callable[[Path], object] | None = None,
) -> Exports:
    """Exports `classify`: inputs as they are stored -> logits and probabilities.

    prepare: does not use its key. facts: what else a reader has to know. beside: as in
      `exports_of`.
    """
    spec = {
        name: one_of(leaf)
        for name, leaf in train.spec(1).items()
        if name not in ("label", "target", "bucket")
    }

    no_key: Any = None

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        prepared = prepare(inputs, no_key)[classifier.input_name]
        logits = classifier.model.apply(variables, prepared, train=False)
        return {"logits": logits, "probabilities": jax.nn.softmax(jnp.asarray(logits))}

    meanings = {
        **{name: _MEANINGS.get(name, "a column of the table") for name in spec},
        "logits": _LOGITS,
        "probabilities": "of the classes in the order of labels",
    }
    program = Program(run, spec, meanings, lambda state: learned_of(state, "batch_stats"))
    return exports_of({"classify": program}, {"labels": list(labels), **facts}, beside)


def text_programs(
    classifier: Classifier | Tagging,
    prepare: Change,
    train: Source,
    labels: Sequence[str],
    tokenizer: Any,
) -> Exports:
    """Exports `classify` of tokens, with the tokenizer: its file, or its vocabulary as a fact."""
    facts: dict[str, Any] = {"tokenizer": tokenizer.name}
    save = getattr(tokenizer, "save", None)
    if save is None:
        facts["vocabulary"] = list(getattr(tokenizer, "words", ()) or tokenizer.features)
        facts["first_token"] = tokenizer.size - len(facts["vocabulary"])
    return classifier_programs(classifier, prepare, train, labels, facts, save)
