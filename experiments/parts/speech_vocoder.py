"""What makes sounds of spectrograms: Griffin and Lim's iteration, or a trained vocoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.vocoder import VocoderConfig, generator_of
from jaxmodels.errors import InputError
from jaxmodels.models.vocos import Vocos
from jaxmodels.objectives.players import learned_generator
from jaxmodels.ops.spectral import Mel
from jaxmodels.ops.spectral_phase import griffin_lim_of_mel
from jaxmodels.protocol import PyTree
from jaxmodels.train import Role, require_range
from jaxmodels.train.config import from_record
from jaxmodels.train.trained import Trained, open_trained


@dataclass(frozen=True, kw_only=True)
class SoundingConfig:
    """What makes sounds of spectrograms."""

    vocoder: Annotated[str, Role.READ] = ""
    """Run folder of experiments.vocoder, with the same rate, bands, window and hop; empty:
    Griffin & Lim's iteration."""
    phases: Annotated[int, Role.READ] = 60
    """Iterations that find the phases of a spectrogram (Griffin & Lim)."""

    def validate(self) -> None:
        """Raises InputError for a number below 0."""
        require_range(self, ("phases",))


class Sounding:
    """Makes sounds of log mel spectrograms.

    Raises:
      InputError: the run is none of experiments.vocoder, or of other spectrograms.
    """

    def __init__(self, config: SoundingConfig, mel: Mel):
        self._config, self._mel = config, mel
        self._trained = _opened(Path(config.vocoder).expanduser(), mel) if config.vocoder else None
        # It is read here, since checkpoints cannot be read while a function is traced.
        self._network = _network_of(self._trained, mel) if self._trained else None

    def __call__(
        self, features: Float[Array, "batch frames bands"], samples: int
    ) -> Float[Array, "batch samples"]:
        """Makes sounds of so many samples, within -1..1."""
        if self._network is None:
            return griffin_lim_of_mel(features, self._mel, samples, self._config.phases)
        generator, params = self._network
        params = jax.tree.map(jnp.asarray, params)
        sound = jnp.asarray(generator.apply({"params": params}, features, samples))
        return jnp.clip(sound, -1, 1)

    def record(self) -> dict[str, Any]:
        """Says what makes the sounds, for the record of an evaluation."""
        if self._trained is None:
            return {"phases": f"Griffin-Lim, {self._config.phases} iterations"}
        found = {"run": self._config.vocoder, "step": self._trained.step}
        return {"vocoder": {**found, "fingerprint": self._trained.fingerprint}}


def _network_of(trained: Trained, mel: Mel) -> tuple[Vocos, PyTree]:
    state = trained.read()
    state.setdefault("ema", {})
    # Arrays of the host, which programs on any devices can hold.
    params = jax.tree.map(np.asarray, learned_generator(state))
    return generator_of(_config_of(trained), mel), params


def _opened(path: Path, mel: Mel) -> Trained:
    trained = open_trained(path, "best", "vocoder")
    record = trained.record
    if record["experiment"] != VocoderConfig.experiment:
        raise InputError(
            f"vocoder = {path}; it is a run of {record['experiment']}: expected one of"
            f" experiments.{VocoderConfig.experiment}"
        )
    other = _config_of(trained).frames.mel(record["facts"]["data"]["rate"])
    if differing := {
        name: (theirs, ours)
        for name, theirs, ours in zip(Mel._fields, other, mel, strict=True)
        if theirs != ours
    }:
        told = ", ".join(f"{name} {a} instead of {b}" for name, (a, b) in differing.items())
        raise InputError(
            f"vocoder = {path}; it makes sounds of other spectrograms ({told}): expected the same"
            " rate, bands, window and hop"
        )
    return trained


def _config_of(trained: Trained) -> VocoderConfig:
    config = from_record(VocoderConfig, trained.record)
    assert isinstance(config, VocoderConfig)
    return config
