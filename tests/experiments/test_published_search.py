"""Options of searches that lie beside published weights, and the flags that they imply."""

import json

import pytest

from experiments.parts.published_search import published_options, search_flags
from experiments.parts.summary_writing import published_prefix, published_writing
from experiments.translation import TranslationConfig
from jaxmodels.errors import InputError
from jaxmodels.pretrained.weights import Weights

T5 = {"num_beams": 4, "early_stopping": True, "min_length": 30, "max_length": 200}
T5 |= {"length_penalty": 2.0, "no_repeat_ngram_size": 3, "prefix": "summarize: "}
TASKS = {"translation_en_to_de": {"early_stopping": True}, "summarization": T5}


def weights_of(folder, config, beside=None):
    file = folder / "model.safetensors"
    if beside is not None:
        (folder / "generation_config.json").write_text(json.dumps(beside))
    return Weights(folder, {}, config, (file,))


def test_the_task_says_how_to_summarize_before_files_do(tmp_path):
    found = weights_of(tmp_path, {"num_beams": 1, "task_specific_params": TASKS})
    assert published_prefix(found) == "summarize: "
    assert published_writing(found) == {
        "document_length": 512,
        "batch_size": 1,
        "beams": 4,
        "length_penalty": 2.0,
        "stop": "full",
        "no_repeat": 3,
        "shortest": 29,
        "summary_length": 198,
    }

    assert TranslationConfig.flags_of_weights_alone(found)["stop"] == "full"


def test_generation_config_stands_before_config(tmp_path):
    beside = {"num_beams": 6, "early_stopping": "never", "max_length": None}
    found = weights_of(tmp_path, {"num_beams": 2, "length_penalty": 0.5, "max_length": 9}, beside)
    assert search_flags(published_options(found, "translation")) == {
        "beams": 6,
        "length_penalty": 0.5,
        "stop": "exact",
    }
    assert published_options(found, "summarization")["max_length"] == 9
    flags = TranslationConfig.flags_of_weights_alone(found)
    assert flags["beams"] == 6 and flags["stop"] == "exact"


def test_without_any_a_search_is_theirs_by_default(tmp_path):
    found = weights_of(tmp_path, {})
    assert published_writing(found)["stop"] == "likely" and published_prefix(found) == ""
    with pytest.raises(InputError, match="early_stopping = always in weights; expected true"):
        search_flags({"early_stopping": "always"})
