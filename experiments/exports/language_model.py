"""A language model as a program of tokens, and as a folder that transformers reads."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.exports.common import Exports, names_of
from jaxmodels.data.text import PublishedTokenizer, Tokenizer
from jaxmodels.errors import InputError, require_known
from jaxmodels.files import write_json
from jaxmodels.models import gpt2_names, llama_names
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.options import chosen_options
from jaxmodels.objectives.descent import learned_of
from jaxmodels.pretrained import save
from jaxmodels.pretrained.programs import Program, exports_of
from jaxmodels.protocol import State

_LANGUAGE_MODELS = {"gpt2": gpt2_names, "llama": llama_names}


def language_model_programs(
    model: nn.Module, context: int, tokenizer: str, causal: bool = True
) -> Exports:
    """Exports `read`: windows of tokens -> logits at each place.

    tokenizer: its name, for the reader. causal: the logits are of the following token; else of the
      token itself.
    """

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {"logits": jnp.asarray(model.apply(variables, inputs["tokens"]))}

    spec = {"tokens": jax.ShapeDtypeStruct((context,), jnp.int32)}
    whose = "following token; what stands behind it changes nothing" if causal else "token itself"
    meanings = {
        "tokens": "numbers of tokens",
        "logits": f"at each place a number for each token of the vocabulary, of the {whose}",
    }
    program = Program(run, spec, meanings, lambda state: learned_of(state))
    return exports_of({"read": program}, {"tokenizer": tokenizer})


def export_language_model(
    models: LanguageModels,
    tokenizer: Tokenizer,
    context: int,
    objective: str,
    naming: str,
    state: State,
    output: Path,
) -> None:
    """Writes the folder of a language model with its tokenizer, of the averaged weights where there
    are some.

    Raises:
      InputError: a model, or options of it, that others do not have.
    """
    names = names_of(models.model, _LANGUAGE_MODELS)
    require_known("naming", naming, ("", "transformers"))
    if objective == "masked":
        raise InputError(
            f"objective = masked; no other library has a {models.model} of masked tokens: export it"
            " as --format stablehlo"
        )
    options = chosen_options(models)
    config = names.published_config(options, tokenizer.size, context, end=tokenizer.end)
    beside = partial(_save_tokenizer, tokenizer, context)
    save(output, learned_of(state), names.published(options), config, beside=beside)


def _save_tokenizer(tokenizer: Tokenizer, context: int, folder: Path) -> None:
    tokenizer.save(folder)
    if isinstance(tokenizer, PublishedTokenizer):
        # A published one keeps its own end, which may be that of a turn, and its template.
        facts: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.config}
        if tokenizer.end is not None:
            facts.setdefault("eos_token", tokenizer.word(tokenizer.end))
        facts["model_max_length"] = context
        write_json(folder / "tokenizer_config.json", facts, 2)
