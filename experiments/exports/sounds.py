"""A recogniser of speech as a program of sounds."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, prediction_programs
from jaxmodels.data.transcripts import TranscriptData
from jaxmodels.data.transcripts.labels import Labels
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.objectives.recognition import Recogniser


def recogniser_programs(recogniser: Recogniser, prepare: Change, data: TranscriptData) -> Exports:
    """Exports `recognise`: sounds -> tokens of their texts."""
    inputs = {name: data.spec[name] for name in ("sound", "length")}
    meanings = {
        "sound": f"samples of 16 bits, {data.rate:,} a second, with zeros behind the end",
        "length": "samples of the sound without the zeros",
        "tokens": "numbers of units of the text, of which the first count",
        "length_of_text": "how many of them",
    }

    def predict(state, batch, key) -> dict[str, jax.Array]:
        found = recogniser.predict(state, batch, key)
        return {"tokens": found["tokens"], "length_of_text": jnp.asarray(found["length"])}

    facts: dict[str, Any] = {"rate": data.rate, "tokens": data.coder.name}
    coder: Any = data.coder
    beside = None
    if isinstance(coder, Labels):
        facts |= {"units": list(coder.known), "first_unit": 1}  # 0 is the blank, never told
    else:
        beside = coder.tokenizer.save
    names = "recognise", predict, prepare, inputs, meanings, facts
    return prediction_programs(*names, beside=beside)
