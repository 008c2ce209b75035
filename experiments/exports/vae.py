"""A VAE as two programs: of images, and of latents."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.exports.common import Exports, one_of
from jaxmodels.errors import InputError
from jaxmodels.models.vae import VAE
from jaxmodels.objectives.vae import VariationalAutoencoder, variables_of
from jaxmodels.ops.latents import call
from jaxmodels.pretrained.programs import FORMATS, Program, exports_of


def vae_programs(
    vae: VariationalAutoencoder,
    spec: Mapping[str, jax.ShapeDtypeStruct],
    prepare: Callable[[jax.Array], jax.Array],
    labels: Sequence[str],
) -> Exports:
    """Exports `encode`, images as they are stored -> means of their latents, and `decode`, latents
    -> images as bytes.

    spec: of a batch as it is stored. prepare: scales pixels without adding noise. What has latents
      of several sizes, or codes, is refused when it is asked for.
    """
    if not isinstance(vae.model, VAE):
        return dict.fromkeys(FORMATS, _refuse)
    no_key: Any = None
    told = ("label",) if vae.classes else ()
    images = {name: one_of(spec[name]) for name in ("image", *told)}

    def encode(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        batch = {**inputs, "image": prepare(inputs["image"])}
        inference = vae.infer(variables, batch, no_key)
        return {"latent": jax.tree.map(lambda leaf: leaf[0], inference.latents)}

    def decode(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        parameters = call(vae.model, "decode", variables, inputs["latent"], inputs.get("label"))
        return {"image": jnp.round(255 * vae.likelihood.mean(parameters)).astype(jnp.uint8)}

    latents = {"latent": jax.ShapeDtypeStruct((vae.model.latent_size,), jnp.float32)}
    latents |= {name: images[name] for name in told}
    meanings = {
        "image": "pixels of 0..255",
        "label": "number of the class in labels",
        "latent": "mean of q(z|x); normal random numbers give new images",
    }
    programs = {
        "encode": Program(encode, images, meanings, variables_of),
        "decode": Program(decode, latents, meanings, variables_of),
    }
    return exports_of(programs, {"labels": list(labels)} if vae.classes else {})


def _refuse(state: Any, folder: Any) -> None:
    raise InputError(
        "mode = export; the programs encode and decode have one array of latents, which ladders and"
        " VQ-VAEs have not: train --model conv or mlp"
    )
