"""The spectrograms that sounds are made from, the same of a synthesis and of its vocoder."""

from dataclasses import dataclass

from jaxmodels.errors import InputError
from jaxmodels.ops.spectral import Mel


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """The spectrograms that sounds are made from."""

    bands: int = 48
    """Mel bands of the spectrograms that are made."""
    window: float = 0.032
    """Seconds of a frame."""
    hop: float = 0.008
    """Seconds from a frame to the next."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        if not 0 < self.hop <= self.window / 2:
            raise InputError(
                f"hop, window = {self.hop:g}, {self.window:g}; expected a hop of at most half of"
                " the window, so that phases can be found"
            )
        if self.bands < 1:
            raise InputError(f"bands = {self.bands}; expected 1 or more")

    def mel(self, rate: int) -> Mel:
        """Makes the numbers of the spectrogram at a rate.

        Raises:
          InputError: bands that are too narrow for the window.
        """
        return Mel.in_seconds(rate, self.window, self.hop, self.bands, floor=1e-5)
