"""A model of texts to texts as a folder that transformers reads."""

from functools import partial
from pathlib import Path

from experiments.exports.common import names_of
from jaxmodels.data.text import Tokenizer
from jaxmodels.data.text.sentencepieces import SentencePieces
from jaxmodels.errors import require_known
from jaxmodels.models.options import chosen_options
from jaxmodels.models.text_to_text_models import PUBLISHED, TextToTextModels
from jaxmodels.objectives.descent import learned_of
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
    beside = partial(_save_tokenizer, tokenizer)
    save(output, learned_of(state), names.published(options), config, beside=beside)


def _save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    if isinstance(tokenizer, SentencePieces):
        tokenizer.save_published(folder)
    else:
        tokenizer.save(folder)
