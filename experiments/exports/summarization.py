"""A summarizer as a program of documents' tokens."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, prediction_programs
from experiments.exports.text_to_text import save_tokenizer
from jaxmodels.data.documents.document_data import DocumentData
from jaxmodels.data.documents.rows import CopyRows, PromptRows, SequenceRows
from jaxmodels.data.documents.words import END, PADDING, START, UNKNOWN, WORD
from jaxmodels.objectives.pointer_summarizer import PointerSummarizer
from jaxmodels.objectives.prompted_summarizer import PromptedSummarizer
from jaxmodels.objectives.sequence_summarizer import SequenceSummarizer

Summarizer = PointerSummarizer | SequenceSummarizer | PromptedSummarizer


def summary_programs(objective: Summarizer, data: DocumentData) -> Exports:
    """Exports `write`: tokens of documents -> tokens of summaries, by the search of the run."""
    rows, most = data.rows, objective.search.most
    if isinstance(rows, CopyRows):
        inputs, prepare = _copied(rows)
        facts, beside = _words(rows), None
    else:
        prompts = isinstance(rows, PromptRows)
        inputs, prepare = _prompted(rows, most) if prompts else _read(rows)
        facts = {"tokenizer": rows.tokenizer.name, "end": rows.end}
        beside = partial(save_tokenizer, rows.tokenizer)

    def write(state: Any, batch: Any, key: Any) -> dict[str, jax.Array]:
        found = objective.write(state, batch, key)
        return {name: found[name] for name in ("tokens", "length")}

    return prediction_programs("write", write, prepare, inputs, _MEANINGS, facts, beside=beside)


Preparation = tuple[dict[str, jax.ShapeDtypeStruct], Callable[..., Any]]

_MEANINGS = {
    "source": "numbers of the words of a document, those that the vocabulary lacks as unknown, or"
    " of its tokens with the end behind them; then padding, as in the run's rows",
    "copied": "the same, but for such a word the vocabulary's size + the place of its first"
    " occurrence in the document",
    "prompt": "how many tokens there are before those of the summary",
    "tokens": "numbers of tokens: of a prompt, as in the run's rows, with any others behind it; and"
    " of a summary, of which the first count. Of a word that is copied it is the vocabulary's size"
    " + the place of the word in the document",
    "length": "how many of them, with the end",
}


def _copied(rows: CopyRows) -> Preparation:
    """Makes rows of a document for a model that copies words."""
    one = jax.ShapeDtypeStruct((rows.document,), jnp.int32)

    def prepare(given: Mapping[str, jax.Array], key: Any) -> dict[str, jax.Array]:
        count = given["source"].shape[0]
        begin = jnp.full((count, 1), START, jnp.int32)
        return {**given, "target": begin, "row": jnp.zeros(count, jnp.int32)}

    return {"source": one, "copied": one}, prepare


def _words(rows: CopyRows) -> dict[str, Any]:
    """Says how a document becomes numbers of words."""
    words = rows.tokenizer
    own = {"padding": PADDING, "unknown": UNKNOWN, "start": START, "end": END}
    return {
        "tokenizer": words.name,
        "pattern": WORD.pattern,
        "lower": words.lower,
        "vocabulary": list(words.words),
        "first_token": words.size - len(words.words),
        **own,
    }


def _read(rows: SequenceRows) -> Preparation:
    """Makes rows of a document for a model of an encoder and a decoder."""

    def prepare(given: Mapping[str, jax.Array], key: Any) -> dict[str, jax.Array]:
        return {**given, "row": jnp.zeros(given["source"].shape[0], jnp.int32)}

    return {"source": jax.ShapeDtypeStruct((rows.document,), jnp.int32)}, prepare


def _prompted(rows: PromptRows, most: int) -> Preparation:
    """Makes rows of a document for a model of the next token."""
    inputs = {
        "tokens": jax.ShapeDtypeStruct((rows.length + 1 - most,), jnp.int32),
        "prompt": jax.ShapeDtypeStruct((), jnp.int32),
    }

    def prepare(given: Mapping[str, jax.Array], key: Any) -> dict[str, jax.Array]:
        # The room of the summary, which is written.
        tokens = jnp.pad(given["tokens"], ((0, 0), (0, most)), constant_values=rows.end)
        return {"tokens": tokens, "prompt": given["prompt"], "row": jnp.zeros_like(given["prompt"])}

    return inputs, prepare
