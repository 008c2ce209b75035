"""Whisper as a folder that transformers reads: weights, config, tokenizer, front end, and how texts
begin."""

import sys
from collections.abc import Callable
from pathlib import Path

from jaxmodels.files import write_json
from jaxmodels.models import whisper_names
from jaxmodels.models.whisper import WhisperConfig
from jaxmodels.models.whisper_rules import Dictated
from jaxmodels.objectives.recognition import Recogniser
from jaxmodels.ops.spectral import WHISPER
from jaxmodels.pretrained.saving import save
from jaxmodels.protocol import State


def whisper_weights(options: WhisperConfig, coder: Dictated) -> Callable[[State, Path], None]:
    """Makes the function that writes what a run has learned. Of a model that has learned from
    `heard` places, these are all that the file has."""
    writing = coder.writing

    def beside(folder: Path) -> None:
        coder.tokenizer.save(folder)
        begins = whisper_names.generation_config(options, writing)
        write_json(folder / "generation_config.json", begins, 2)
        write_json(folder / "preprocessor_config.json", front_end_of(options), 2)

    def export(state: State, folder: Path) -> None:
        config = whisper_names.published_config(options, coder.size, writing.prompt[0], writing.end)
        params = dict(Recogniser.learned(state)["params"])
        places = params["sound_positions"]["embedding"][: options.places]
        params["sound_positions"] = {"embedding": places}
        save(folder, {"params": params}, whisper_names.published(options), config, beside=beside)

    return export


def front_end_of(options: WhisperConfig) -> dict[str, object]:
    """Describes the front end as transformers' WhisperFeatureExtractor reads it."""
    samples = 2 * options.places * WHISPER.hop
    seconds, rest = divmod(samples, WHISPER.rate)
    if rest:
        print(
            f"note: the model hears {samples / WHISPER.rate:g} s; transformers' front end fills up"
            f" to whole seconds unless it is called with max_length={samples}",
            file=sys.stderr,
        )
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "chunk_length": samples / WHISPER.rate if rest else seconds,
        "feature_size": options.bands,
        "hop_length": WHISPER.hop,
        "n_fft": WHISPER.window,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": WHISPER.rate,
    }
