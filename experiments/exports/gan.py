"""A GAN's generator as a program of latents."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.generation import to_uint8
from jaxmodels.pretrained.programs import Program, exports_of


def gan_programs(gan: GAN, labels: Sequence[str]) -> Exports:
    """Exports `sample`: latents, and labels where the model has classes -> images as bytes."""
    classes = {"label": jax.ShapeDtypeStruct((), jnp.int32)} if gan.classes else {}

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        latents, label = inputs["latent"], inputs.get("label")
        images = gan.generator.apply(variables, latents, label, train=False)
        return {"image": to_uint8(jnp.asarray(images))}

    spec = {"latent": jax.ShapeDtypeStruct((gan.latent_size,), jnp.float32), **classes}
    meanings = {
        "latent": "normal random numbers",
        "label": "number of the class in labels",
        "image": "pixels of 0..255",
    }
    program = Program(run, spec, meanings, gan.generator_variables)
    return exports_of({"sample": program}, {"labels": list(labels)} if gan.classes else {})
