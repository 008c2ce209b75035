"""Short-time Fourier transforms of sounds and their inverse, mel spectrograms, and MFCC.

The transform of a frame is an FFT on every backend: on a CPU it takes a quarter of the time of a
product with cosines and sines, and it keeps float32 where products are rounded to less.
"""

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, Inexact, Int

from jaxmodels.errors import InputError
from jaxmodels.ops.spectral_filters import cosine_matrix, hann_window, mel_filters

Pad = Literal["reflect", "constant"]


class Transform(NamedTuple):
    """The numbers of a short-time Fourier transform.

    window: samples of the periodic Hann window, which stands in the middle of `size` samples.
    hop: samples from a frame to the next. size: samples of a frame, 0: those of the window.
    center: whether the middle of frame t is sample t * hop, for which `pad` adds size / 2 samples
      on both sides; otherwise its first sample is.
    """

    window: int
    hop: int
    size: int = 0
    center: bool = True
    pad: Pad = "reflect"

    @property
    def samples(self) -> int:
        """The samples of a frame."""
        return self.size or self.window

    def weights(self) -> Float[np.ndarray, " size"]:
        """Returns the window in the middle of a frame."""
        return hann_window(self.window, self.samples)

    def frames(self, samples: int) -> int:
        """Counts the frames of a sound of so many samples."""
        if self.center:
            return 1 + (samples + 2 * (self.samples // 2) - self.samples) // self.hop
        return max(0, 1 + (samples - self.samples) // self.hop)


class Mel(NamedTuple):
    """The numbers of a mel spectrogram.

    rate: samples a second. window, hop, size, center, pad: as of `Transform`.
    bands: filters between the frequencies `low` and `high` in Hz; high 0: half of the rate.
    scale, norm: "slaney" filters have unit area (librosa, Whisper), "htk" with norm "none" a peak
      of 1 (torchaudio, Kaldi).
    power: of the magnitudes that the filters add, 1 or 2.
    log: "natural" ln(x + floor); "decibels" 10 log10 of at least `floor`, at most 80 below the
      largest (librosa's power_to_db); "whisper" log10 of at least `floor`, at most 8 below the
      largest, + 4, / 4; "none".
    drop_last: leaves out the last frame, as Whisper does.
    """

    rate: int
    window: int
    hop: int
    size: int = 0
    bands: int = 40
    low: float = 0.0
    high: float = 0.0
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    power: Literal[1, 2] = 2
    log: Literal["natural", "decibels", "whisper", "none"] = "natural"
    floor: float = 1e-6
    center: bool = True
    pad: Pad = "reflect"
    drop_last: bool = False

    @classmethod
    def in_seconds(cls, rate: int, window: float, hop: float, bands: int, **others: Any) -> "Mel":
        """Makes the numbers of frames whose window and hop are given in seconds; the size is the
        next power of 2.

        Raises:
          InputError: bands that are too narrow for the window.
        """
        samples = round(window * rate)
        size = 1 << max(samples - 1, 1).bit_length()
        mel = cls(rate, samples, max(1, round(hop * rate)), size, bands, **others)
        try:
            mel.filters()
        except ValueError as error:
            raise InputError(f"bands = {bands}; {error}") from None
        return mel

    @property
    def transform(self) -> Transform:
        """The transform whose magnitudes the filters add."""
        return Transform(self.window, self.hop, self.size, self.center, self.pad)

    def frames(self, samples: int) -> int:
        """Counts the frames of a sound of so many samples."""
        return self.transform.frames(samples) - self.drop_last

    def filters(self) -> Float[np.ndarray, "frequencies bands"]:
        """Returns the weights of the filters."""
        size = self.transform.samples
        high = self.high or self.rate / 2
        return mel_filters(self.rate, size, self.bands, self.low, high, self.scale, self.norm)


# Whisper's front end (Radford et al. 2022, whisper/audio.py); its large-v3 has 128 bands.
WHISPER = Mel(
    rate=16_000, window=400, hop=160, bands=80, log="whisper", floor=1e-10, drop_last=True
)


def split_frames(
    sound: Float[Array, "batch samples"], size: int, hop: int
) -> Float[Array, "batch frames size"]:
    """Cuts frames of `size` samples, each `hop` samples after the one before. Samples that make no
    whole frame are left out.

    Raises:
      ValueError: the sound is shorter than a frame.
    """
    if sound.shape[1] < size:
        raise ValueError(f"a sound of {sound.shape[1]} samples; expected a frame, {size}, or more")
    count = 1 + (sound.shape[1] - size) // hop
    pieces = -(-size // hop)
    needed = (count + pieces - 1) * hop
    sound = jnp.pad(sound, ((0, 0), (0, max(0, needed - sound.shape[1]))))[:, :needed]
    # Slices of rows of a hop are copied in order, which is several times as fast as a gather.
    rows = sound.reshape(sound.shape[0], -1, hop)
    parts = [lax.slice_in_dim(rows, first, first + count, axis=1) for first in range(pieces)]
    return jnp.concatenate(parts, -1)[..., :size]


def add_frames(
    frames: Float[Array, "batch frames size"], hop: int
) -> Float[Array, "batch samples"]:
    """Adds frames up where they overlap: the transpose of `split_frames`."""
    batch, count, size = frames.shape
    pieces = -(-size // hop)
    frames = jnp.pad(frames, ((0, 0), (0, 0), (0, pieces * hop - size)))
    rows = frames.reshape(batch, count, pieces, hop)
    total = jnp.zeros((batch, count + pieces - 1, hop), frames.dtype)
    for piece in range(pieces):
        total += jnp.pad(rows[:, :, piece], ((0, 0), (piece, pieces - 1 - piece), (0, 0)))
    return total.reshape(batch, -1)[:, : (count - 1) * hop + size]


def stft(
    sound: Float[Array, "batch samples"], transform: Transform
) -> Complex[Array, "batch frames frequencies"]:
    """Computes the short-time Fourier transform, with the values of `librosa.stft` and
    `torch.stft`."""
    if transform.center:
        half = transform.samples // 2
        sound = jnp.pad(sound, ((0, 0), (half, half)), mode=transform.pad)
    frames = split_frames(sound, transform.samples, transform.hop)
    return jnp.fft.rfft(frames * transform.weights())


def inverse_stft(
    spectrum: Complex[Array, "batch frames frequencies"], transform: Transform, samples: int
) -> Float[Array, "batch samples"]:
    """Computes the sound whose transform is nearest to a spectrum in squares (Griffin & Lim 1984,
    equation 6), with the values of `librosa.istft`.

    samples: of the sound. Where no window reaches, it is 0.
    """
    size, weights = transform.samples, transform.weights()
    frames = jnp.fft.irfft(spectrum, size) * weights
    total = add_frames(frames, transform.hop)
    squares = _overlap(transform.window, size, transform.hop, spectrum.shape[1])
    total = total * np.where(squares > 1e-8, 1 / np.maximum(squares, 1e-8), 0).astype(np.float32)
    start = size // 2 if transform.center else 0
    total = total[:, start : start + samples]
    return jnp.pad(total, ((0, 0), (0, samples - total.shape[1])))


@lru_cache(maxsize=64)
def _overlap(window: int, size: int, hop: int, frames: int) -> Float[np.ndarray, " samples"]:
    """Computes the sum of the squared windows that overlap at each sample."""
    squares = hann_window(window, size).astype(np.float64) ** 2
    total = np.zeros((frames - 1) * hop + size)
    for frame in range(frames):
        total[frame * hop : frame * hop + size] += squares
    return total


def power_spectrum(
    spectrum: Complex[Array, "*shape"], power: Literal[1, 2] = 2
) -> Float[Array, "*shape"]:
    """Computes magnitudes, or their squares. The gradient of a magnitude of 0 is 0."""
    squares = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    if power == 2:
        return squares
    is_zero = squares == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))


def mel_spectrum(
    sound: Float[Array, "batch samples"], mel: Mel
) -> Float[Array, "batch frames bands"]:
    """Computes the sums of the mel filters, before any logarithm."""
    spectrum = stft(sound, mel.transform)
    if mel.drop_last:
        spectrum = spectrum[:, :-1]
    powers = power_spectrum(spectrum, mel.power)
    return jnp.matmul(powers, mel.filters(), precision=lax.Precision.HIGHEST)


def log_mel(sound: Float[Array, "batch samples"], mel: Mel) -> Float[Array, "batch frames bands"]:
    """Computes a mel spectrogram with the logarithm that `mel` names. The largest value, where it
    counts, is that of each sound."""
    values = mel_spectrum(sound, mel)
    if mel.log == "none":
        return values
    if mel.log == "natural":
        return jnp.log(values + mel.floor)
    levels = jnp.log10(jnp.maximum(values, mel.floor))
    largest = jnp.max(levels, axis=(1, 2), keepdims=True)
    levels = jnp.maximum(levels, largest - 8)
    return (levels + 4) / 4 if mel.log == "whisper" else 10 * levels


def mfcc(
    log_powers: Float[Array, "batch frames bands"], count: int
) -> Float[Array, "batch frames count"]:
    """Computes mel-frequency cepstral coefficients: the first `count` of an orthonormal cosine
    transform of the logarithms of mel bands; of "decibels" those of `librosa.feature.mfcc`."""
    matrix = cosine_matrix(log_powers.shape[-1], count)
    return jnp.matmul(log_powers, matrix, precision=lax.Precision.HIGHEST)


def as_float(sound: Int[Array, "*shape"] | Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Brings samples of 16 bits to -1..1; numbers that are not integers stay as they are."""
    if not jnp.issubdtype(sound.dtype, jnp.integer):
        return jnp.asarray(sound, jnp.float32)
    return sound.astype(jnp.float32) / 32768


def frame_mask(
    length: Int[Array, " batch"],
    frames: int,
    transform: Transform,
    begin: Int[Array, " batch"] | None = None,
) -> Float[Array, "batch frames"]:
    """Marks by 1 the frames whose middle lies in a sound of `length` samples, by 0 those of what
    fills a row up.

    begin: the sample of its row at which a sound begins; None: the first.
    """
    first = jnp.zeros_like(length) if begin is None else begin
    last = first + length - (0 if transform.center else transform.samples)
    middles = jnp.arange(frames)[None] * transform.hop
    inside = (first[:, None] <= middles) & (middles <= last[:, None])
    return jax.lax.convert_element_type(inside, jnp.float32)


def mean_inside(
    spectrograms: Float[Array, "batch frames bands"],
    inside: Float[Array, "batch frames"],
    each_band: bool = False,
) -> Float[Array, "batch 1 means"]:
    """Computes the mean of each spectrogram over the frames that `frame_mask` marks, of all bands
    together or of each; 0 where no frame is marked."""
    total = jnp.sum(spectrograms * inside[..., None], axis=1, keepdims=True)
    means = total / jnp.maximum(jnp.sum(inside, axis=1), 1)[:, None, None]
    return means if each_band else jnp.mean(means, axis=2, keepdims=True)


def silence_behind(
    sounds: Float[Array, "batch samples"], length: Int[Array, " batch"]
) -> Float[Array, "batch samples"]:
    """Puts zeros behind the first `length` samples of each sound."""
    return jnp.where(jnp.arange(sounds.shape[1]) < length[:, None], sounds, 0)
