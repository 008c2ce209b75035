"""What --mode sample draws of a GAN or VAE: of one class, of given latents, between latents."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.generation import interpolate_latents
from jaxmodels.train import Role

Latents = Float[Array, "count size"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What --mode sample draws; without these flags --count samples, of all classes in turn."""

    label: Annotated[str, Role.VERB] = ""
    """Draw samples of this class only, by its name."""
    latent: Annotated[str | None, Role.VERB] = None
    """Make images of the latents in this file: .npy, or .npz with an array "latents", one a row."""
    interpolate: Annotated[int, Role.VERB] = 0
    """Draw rows of this many images, each row from one latent to another; 0: none."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        if self.interpolate < 0 or self.interpolate == 1:
            raise InputError(f"interpolate = {self.interpolate}; expected 0, or at least 2 images")


def conditions_of(
    config: SamplingConfig,
    class_names: tuple[str, ...],
    count: int,
    size: int | None,
    draw: Callable[[Key[Array, ""], int], Latents],
    straight: bool = False,
) -> Callable[[Key[Array, ""]], Any] | None:
    """Makes the function from a key to the conditions of an objective's `sample`; None where no
    flag asks for other samples than usual.

    class_names: those that the model is told; empty: it is told none.
    size: the number of latents of an image; None: latents are no row of numbers.
    draw: draws latents for a key and a number of images.
    straight: interpolate on lines, not on a sphere.

    Raises:
      InputError: a flag that the model does not allow, or a file without fitting latents.
    """
    if not (config.label or config.latent or config.interpolate):
        return None
    label = _label_of(config.label, class_names)
    if size is None and (config.latent or config.interpolate):
        raise InputError(
            f"latent = {config.latent}, interpolate = {config.interpolate}; the latents of this"
            " model are no row of numbers for each image: expected a run of another --model"
        )
    given = _read(config.latent, size) if config.latent else None
    length = config.interpolate

    def conditions(key: Key[Array, ""]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        total = count
        if given is not None or length:
            rows = -(-count // length) if length else 0
            latents = draw(key, 2 * rows) if given is None else jnp.asarray(given)
            if length:
                # Given latents make a chain; drawn ones go in pairs.
                ends = (latents[:rows], latents[rows:])
                ends = ends if given is None else (latents[:-1], latents[1:])
                latents = _between(*ends, length, straight)
            made["latents"], total = latents, len(latents)
        if class_names:
            # A row is of one class, because one between classes would jump.
            turns = jnp.arange(total) // max(length, 1) % len(class_names)
            made["labels"] = turns if label is None else jnp.full(total, label)
        return made

    return conditions


def _label_of(label: str, class_names: tuple[str, ...]) -> int | None:
    if not label:
        return None
    if not class_names:
        raise InputError(
            f"label = {label}; the run's model is told no classes: leave out --label, or train one"
            " with --conditional on data with classes"
        )
    require_known("label", label, class_names)
    return class_names.index(label)


def _read(path: str | None, size: int | None) -> Float[np.ndarray, "count size"]:
    file = Path(path or "")
    try:
        found: Any = np.load(file, allow_pickle=False)
        latents = found["latents"] if file.suffix == ".npz" else found
        latents = np.asarray(latents, np.float32)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"latent = {path}; it cannot be read ({error}): expected .npy, or .npz with an array"
            ' "latents"'
        ) from None
    if latents.ndim != 2 or latents.shape[1] != size or not len(latents):
        raise InputError(
            f"latent = {path}; it has an array of shape {latents.shape}: expected (count, {size}),"
            " one row for each image"
        )
    if not np.isfinite(latents).all():
        raise InputError(f"latent = {path}; it has numbers that are not finite: expected none")
    return latents


def _between(one: Latents, other: Latents, length: int, straight: bool) -> Latents:
    """Returns rows of latents from each of `one` to each of `other`, one row after another."""
    if not len(one):
        raise InputError("latent: one row only; --interpolate needs two or more")
    weights = jnp.linspace(0, 1, length)[None, :, None]
    if straight:
        mixed = (1 - weights) * one[:, None] + weights * other[:, None]
    else:
        mixed = interpolate_latents(one[:, None], other[:, None], weights)
    return mixed.reshape(-1, one.shape[-1])
