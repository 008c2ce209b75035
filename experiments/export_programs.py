"""What --mode export writes as StableHLO, ONNX and SavedModel: functions of what users have, bytes
of images and numbers of tokens, so that other programs need none of the preparation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.generation import to_uint8
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.objectives.vae import VariationalAutoencoder, variables_of
from jaxmodels.ops.latents import call
from jaxmodels.pretrained.programs import Program, exports_of
from jaxmodels.protocol import Source, State

Exports = dict[str, Callable[[State, Path], None]]
_MEANINGS = {"image": "pixels as they are stored, cut or resized to this size"}
_LOGITS = "a number for each class, of which the softmax gives probabilities"


def classifier_programs(
    classifier: Classifier,
    prepare: Change,
    train: Source,
    labels: Sequence[str],
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Exports:
    """Exports `classify`: inputs as they are stored -> logits and probabilities.

    prepare: does not use its key. facts: what else a reader has to know.
    """
    spec = {
        name: _one(leaf) for name, leaf in train.spec(1).items() if name not in ("label", "target")
    }

    no_key: Any = None

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        prepared = prepare(inputs, no_key)[classifier.input_name]
        logits = classifier.model.apply(variables, prepared, train=False)
        return {"logits": logits, "probabilities": jax.nn.softmax(jnp.asarray(logits))}

    meanings = {
        **{name: _MEANINGS.get(name, "a column of the table") for name in spec},
        "logits": _LOGITS,
        "probabilities": "of the classes in the order of labels",
    }
    program = Program(run, spec, meanings, lambda state: learned_of(state, "batch_stats"))
    return exports_of({"classify": program}, {"labels": list(labels), **facts})


def language_model_programs(
    model: nn.Module, context: int, tokenizer: str, causal: bool = True
) -> Exports:
    """Exports `read`: windows of tokens -> logits at each place.

    tokenizer: its name, for the reader. causal: the logits are of the following token; else of the
      token itself.
    """

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {"logits": jnp.asarray(model.apply(variables, inputs["tokens"]))}

    spec = {"tokens": jax.ShapeDtypeStruct((context,), jnp.int32)}
    whose = "following token; what stands behind it changes nothing" if causal else "token itself"
    meanings = {
        "tokens": "numbers of tokens",
        "logits": f"at each place a number for each token of the vocabulary, of the {whose}",
    }
    program = Program(run, spec, meanings, lambda state: learned_of(state))
    return exports_of({"read": program}, {"tokenizer": tokenizer})


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


def vae_programs(
    vae: VariationalAutoencoder,
    spec: Mapping[str, jax.ShapeDtypeStruct],
    prepare: Callable[[jax.Array], jax.Array],
    labels: Sequence[str],
) -> Exports:
    """Exports `encode`, images as they are stored -> means of their latents, and `decode`, latents
    -> images as bytes.

    spec: of a batch as it is stored. prepare: scales pixels without adding noise.
    """
    no_key: Any = None
    told = ("label",) if vae.classes else ()
    images = {name: _one(spec[name]) for name in ("image", *told)}

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


def _one(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Gives shape and type of one example of a batch."""
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
