"""How published weights of texts to texts are meant to be searched with."""

from collections.abc import Mapping
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.pretrained.weights import Weights

# Options by the names of transformers.
_KINDS = {
    "num_beams": int,
    "length_penalty": int | float,
    "early_stopping": bool | str,
    "no_repeat_ngram_size": int,
    "min_length": int,
    "max_length": int,
    "prefix": str,
}
_STOPS = {True: "full", False: "likely", "never": "exact"}  # by early_stopping


def published_options(weights: Weights, task: str) -> dict[str, Any]:
    """Reads the options of a search: from the part of a task in config.json, where that has none
    from generation_config.json, else from config.json.

    task: how the name of the task begins, as "summarization".
    """
    tasks = _mapping(weights.config.get("task_specific_params"))
    own = next((tasks[name] for name in tasks if name.startswith(task)), None)
    beside = [read_json(file.with_name("generation_config.json")) for file in weights.files[:1]]
    known: dict[str, Any] = {}
    for some in map(_mapping, (weights.config, *beside, own)):
        known |= {name: value for name, value in some.items() if value is not None}
    return {name: known[name] for name, kind in _KINDS.items() if isinstance(known.get(name), kind)}


def search_flags(options: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the flags beams, length_penalty and stop of such options.

    Raises:
      InputError: an early_stopping that is not known.
    """
    names = {"beams": "num_beams", "length_penalty": "length_penalty"}
    flags = {ours: options[theirs] for ours, theirs in names.items() if theirs in options}
    stopping = options.get("early_stopping", False)
    if stopping not in _STOPS:
        raise InputError(f"early_stopping = {stopping} in weights; expected true, false or never")
    return {**flags, "stop": _STOPS[stopping]}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
