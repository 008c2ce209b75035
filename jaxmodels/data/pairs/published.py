"""The tokenizer beside published weights of a model that reads one text and writes another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmodels.data.pairs.rows import PairRows
from jaxmodels.data.text.keeping import keep_tokenizer
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.pretrained.weights import Weights


def with_tokenizer(flags: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """Adds the tokenizer that lies beside weights, if one does, to the flags that they imply.

    Raises:
      InputError: targets would begin or end with other tokens than config.json says.
    """
    kept = keep_tokenizer(weights.path, weights.config.get("pad_token_id"))
    if kept is None:
        return dict(flags)
    rows = PairRows.of(load_tokenizer(Path(kept)))
    for name, ours in {"decoder_start_token_id": rows.start, "eos_token_id": rows.end}.items():
        theirs = weights.config.get(name, ours)
        if ours not in (theirs if isinstance(theirs, list) else [theirs]):
            raise InputError(
                f"{weights.path}: {name} = {theirs} in config.json, but the tokenizer beside it has"
                f" {ours} ({rows.tokenizer.name}): expected the tokenizer of these weights"
            )
    return {**flags, "tokenizer": kept}
