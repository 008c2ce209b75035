"""What experiments.language_model shows of an evaluation: scores by bytes and words, and texts."""

import math

import jax
import numpy as np

from experiments.parts.writing import WritingConfig, conditions_of, texts_of
from jaxmodels.data.text import TextData
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

SCORES = {
    "bits_per_byte": Score(
        "lower",
        "bits per byte",
        "Bits of all tokens over the bytes of the text, whatever they are.",
    ),
    "perplexity": Score(
        "lower", "", "Exponential of the nats per word, or per token: see evaluation."
    ),
}
_LARGEST_EXPONENT = 700  # of a number of 64 bits
_SHOWN = 4  # texts that are written
_BEGINNING = 16  # tokens of a document that each goes on from


def report(
    writing: WritingConfig, data: TextData, attention: str, evaluation: Evaluation
) -> Findings:
    """Makes the scores that count bytes and words, says what was counted, and writes texts.

    attention: the implementation of attention, for the protocol.
    """
    counts, loss = data.counts[evaluation.split], evaluation.sums.loss
    nats, tokens = float(loss.total), int(loss.count)
    units, unit = (counts.words, "word") if data.defines_words else (tokens, "token")
    scores = {
        "bits_per_byte": nats / math.log(2) / counts.bytes,
        "perplexity": math.exp(min(nats / units, _LARGEST_EXPONENT)),
    }
    protocol = {
        "tokens": tokens,
        "bytes": counts.bytes,
        "words": counts.words,
        "tokenizer": data.tokenizer.name,
        "context": data.context,
        "stride": data.stride,
        "perplexity_per": unit,
        "attention": attention,
    }
    record = {"step": evaluation.step, "scores": evaluation.scores | scores, "protocol": protocol}
    texts = {}
    if evaluation.split == "validation" and evaluation.occasion != "asked":
        text = _continuations(writing, data, evaluation)
        texts[f"step-{evaluation.step:08d}.txt"] = text
    return Findings(scores, record, texts=texts)


def report_masked(mask_rate: float, data: TextData, evaluation: Evaluation) -> Findings:
    """Says how many tokens were hidden."""
    protocol = {
        "masked_tokens": int(evaluation.sums.loss.count),
        "mask_rate": mask_rate,
        "tokenizer": data.tokenizer.name,
        "context": data.context,
        "stride": data.stride,
    }
    record = {"step": evaluation.step, "scores": evaluation.scores, "protocol": protocol}
    return Findings({}, record)


def _continuations(writing: WritingConfig, data: TextData, evaluation: Evaluation) -> str:
    """Goes on with the beginnings of a few documents, the same at every evaluation."""
    column = data.columns[evaluation.split]
    places = column.openings[:_SHOWN]
    if len(places) < _SHOWN:
        places = np.arange(_SHOWN) * (len(column) // _SHOWN)
    prompts = [np.asarray(column.tokens[at : at + _BEGINNING], np.int32) for at in places]
    conditions = conditions_of(writing, data.tokenizer, prompts)
    drawn = evaluation.draw(jax.random.key(0), conditions)
    pairs = texts_of(writing, data.tokenizer, conditions, drawn["tokens"], drawn["length"])
    return "\n\n".join(f"[{prompt}]{text}" for prompt, text in pairs) + "\n"
