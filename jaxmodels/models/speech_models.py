"""The recognisers of speech, and the options of each."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models.conformer import ConformerConfig
from jaxmodels.models.options import chosen_options, validate_options
from jaxmodels.models.speech_lstm import SpeechLSTMConfig
from jaxmodels.models.whisper import WhisperConfig


@dataclass(frozen=True, kw_only=True)
class SpeechModels:
    """Recognisers: encoders with a label at each place, for connectionist temporal classification,
    and Whisper, which writes texts."""

    model: str = "conformer"
    """Architecture: conformer (Gulati et al. 2020; a transformer with --kernel 0), lstm (both
    directions), or whisper (Radford et al. 2023), as published."""
    conformer: ConformerConfig = field(default_factory=ConformerConfig)
    lstm: SpeechLSTMConfig = field(default_factory=SpeechLSTMConfig)
    whisper: WhisperConfig = field(default_factory=WhisperConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        validate_options(self)

    @property
    def writes(self) -> bool:
        """Whether the model writes tokens one after another."""
        return self.model == "whisper"

    @property
    def halvings(self) -> int:
        """How often an encoder halves the number of frames."""
        options = chosen_options(self)
        return 1 if isinstance(options, WhisperConfig) else options.halvings

    def create(self, labels: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen model of so many labels, or tokens.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        return chosen_options(self).create(labels, dtype)
