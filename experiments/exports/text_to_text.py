"""A model of texts to texts as a folder that transformers reads, and as a program that writes."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, names_of, prediction_programs
from jaxmodels.data.text import Tokenizer
from jaxmodels.data.text.sentencepieces import SentencePieces
from jaxmodels.errors import require_known
from jaxmodels.models.options import chosen_options
from jaxmodels.models.text_to_text_models import PUBLISHED, TextToTextModels
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.sequence_to_sequence import SequenceToSequence
from jaxmodels.pretrained import save
from jaxmodels.protocol import State


def export_text_to_text(
    models: TextToTextModels,
    tokenizer: Tokenizer,
    around: tuple[int, int],
    naming: str,
    state: State,
    output: Path,
) -> None:
    """Writes the folder of a model with its tokenizer, of the averaged weights where there are
    some.

    around: the tokens before and after a target; the first is padding as well.

    Raises:
      InputError: a model that others do not have.
    """
    names = names_of(models.model, PUBLISHED)
    require_known("naming", naming, ("", "transformers"))
    options, (begin, end) = chosen_options(models), around
    config = names.published_config(options, tokenizer.size, begin, end, begin)
    beside = partial(save_tokenizer, tokenizer)
    save(output, learned_of(state), names.published(options), config, beside=beside)


def text_to_text_programs(
    objective: SequenceToSequence, tokenizer: Tokenizer, length: int
) -> Exports:
    """Exports `write`: tokens of a source -> tokens of a target, by the search of the run.

    length: of rows of sources.
    """
    meanings = {
        "source": f"numbers of tokens with {objective.end} behind the last, then -1",
        "tokens": f"numbers of tokens; what stands from the first {objective.end} on counts not",
        "score": "of the search: the mean log-likelihood of a token, for a length penalty of 1",
    }
    # Of the shapes that batches are cut to, the whole one alone.
    whole = replace(objective, buckets=())
    inputs = {"source": jax.ShapeDtypeStruct((length,), jnp.int32)}
    facts = {"tokenizer": tokenizer.name, "end": objective.end}
    return prediction_programs(
        "write",
        whole.translate,
        lambda batch, _: batch,
        inputs,
        meanings,
        facts,
        beside=partial(save_tokenizer, tokenizer),
    )


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the files of a tokenizer; those that transformers reads of a published one."""
    if isinstance(tokenizer, SentencePieces):
        tokenizer.save_published(folder)
    else:
        tokenizer.save(folder)
