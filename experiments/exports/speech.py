"""A synthesis as a program of texts, and a vocoder as one of spectrograms."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, prediction_programs
from experiments.parts.speech_texts import Texts
from jaxmodels.data.audio import SoundData
from jaxmodels.objectives.players import learned_generator
from jaxmodels.objectives.vocoding import Vocoding
from jaxmodels.ops.spectral import Mel
from jaxmodels.pretrained.programs import Program, exports_of

_SOUND = "samples within -1..1, {:,} a second"


def voice_programs(
    say: Callable[[Any, Mapping[str, jax.Array]], Mapping[str, jax.Array]],
    mel: Mel,
    data: SoundData,
    texts: Texts,
    voices: Sequence[str],
) -> Exports:
    """Exports `say`: texts, speakers and noise -> sounds."""
    inputs = {
        "tokens": jax.ShapeDtypeStruct((texts.longest,), jnp.int32),
        "speaker": jax.ShapeDtypeStruct((), jnp.int32),
        "noise": jax.ShapeDtypeStruct((mel.frames(data.samples), mel.bands), jnp.float32),
    }
    meanings = {
        "tokens": f"numbers of {texts.kind}s of the text as it is said; 0 behind its end",
        "speaker": "row of voices",
        "noise": "normal random numbers",
        "sound": _SOUND.format(data.rate),
        "length": "samples of the sound without the zeros",
    }
    facts = {"rate": data.rate, "units": list(texts.units), "first_unit": 1, "voices": list(voices)}

    def run(state: Any, batch: Any, key: Any) -> Mapping[str, jax.Array]:
        return say(state, batch)

    return prediction_programs("say", run, lambda batch, _: batch, inputs, meanings, facts)


def vocoder_programs(vocoding: Vocoding, data: SoundData) -> Exports:
    """Exports `vocode`: mel spectrograms -> sounds."""
    mel = vocoding.mel
    shape = mel.frames(data.samples), mel.bands
    meanings = {
        "features": "natural logarithms of the powers of mel bands + floor, as of spectrogram",
        "sound": _SOUND.format(data.rate),
    }

    def run(params: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        sound = vocoding.vocode(params, inputs["features"], data.samples)
        return {"sound": jnp.clip(sound, -1, 1)}

    spec = {"features": jax.ShapeDtypeStruct(shape, jnp.float32)}
    program = Program(run, spec, meanings, learned_generator)
    return exports_of({"vocode": program}, {"rate": data.rate, "spectrogram": mel._asdict()})
