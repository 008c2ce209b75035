"""Train a variational autoencoder on images.

    python -m experiments.vae                                   # digits
    python -m experiments.vae --data binarized_mnist --data-dir DIR --model ladder
    python -m experiments.vae --preset burda-iwae-50 --data-dir DIR
    python -m experiments.vae --workdir DIR --mode evaluate --samples 5000
    python -m experiments.vae --workdir DIR --mode sample --count 1000 --output samples.npz
    python -m experiments.vae --workdir DIR --mode predict --input ./new --output new.jsonl
    python -m experiments.vae --workdir DIR --mode sample --input ./new --output reconstructions

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores with their protocol), checkpoints/ and samples/ (prior samples at every evaluation,
reconstructions, interpolations, traversals and a map of the latents).
"""

import sys
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.exports.vae import vae_programs
from experiments.parts.elsewhere import images_elsewhere
from experiments.parts.judges import JudgeConfig, Judges
from experiments.parts.sampling import SamplingConfig, conditions_of
from experiments.presets.vae import PRESETS
from experiments.reports.vae import VAEReport, scores_of
from jaxmodels import across
from jaxmodels.data.images import (
    DataConfig,
    ImageData,
    ResizeConfig,
    load,
    make_source,
    read_pictures,
    resize_images,
)
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.vae import VAE
from jaxmodels.models.vaes import VAEModels
from jaxmodels.objectives.generation import draw_latents
from jaxmodels.objectives.importance_sampling import ImportanceSampling
from jaxmodels.objectives.likelihoods import LIKELIHOODS, Likelihood, make_likelihood
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.vae import VariationalAutoencoder
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.protocol import Metadata, example_keys
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Experiment,
    ModelSection,
    Prediction,
    Role,
    RunConfig,
    Section,
    main,
    require_range,
)


@dataclass(frozen=True, kw_only=True)
class VAEConfig(Config):
    """Train, resume, evaluate and sample a variational autoencoder."""

    experiment: ClassVar[str] = "vae"

    run: Section[RunConfig] = RunConfig(
        steps=3000, eval_every=1000, checkpoint_every=1000, log_every=100
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[DataConfig] = DataConfig()
    resize: Section[ResizeConfig] = ResizeConfig()
    model: ModelSection[VAEModels] = VAEModels()
    variational: Section[VariationalConfig] = VariationalConfig(ema=0.995)
    optimizer: Section[OptimizerConfig] = OptimizerConfig()
    judges: Section[JudgeConfig] = JudgeConfig()
    sampling: Section[SamplingConfig] = SamplingConfig()

    conditional: bool = False
    """Tell encoder and decoder the class."""
    likelihood: str = ""
    """p(x|z): bernoulli, gaussian or logistic_mixture (of the stored levels of grey); empty:
    bernoulli for images that are black and white, and else logistic_mixture."""
    binarize: Literal["", "dynamic", "none"] = ""
    """Binarise images at random, with their grey as probability: dynamic, anew at every step (fixed
    in validation and test); none: as they are; empty: dynamic for bernoulli."""
    mixtures: int = 5
    """Logistics per pixel (logistic_mixture)."""
    scale: float = 0.0
    """Standard deviation of gaussian, for pixels in 0..1; 0: learned for each pixel."""
    samples: Annotated[int, Role.READ] = 100
    """Importance samples per image for the nll of the last evaluation."""
    scored: Annotated[int, Role.READ] = 10_000
    """Samples of the prior for the Fréchet distance to the images after the last step; 0: none."""
    draw: Annotated[Literal["mean", "sample"], Role.READ] = "mean"
    """Images of latents: the mean of p(x|z), or a draw of it."""

    def validate(self) -> None:
        super().validate()
        if self.likelihood:
            require_known("likelihood", self.likelihood, LIKELIHOODS)
        require_range(self, ("mixtures",), 1)
        require_range(self, ("scored", "scale"))
        if self.samples < 1:
            raise InputError(
                f"samples = {self.samples}; expected at least 1 importance sample per image"
            )
        objective, size = self.variational.objective, self.run.batch_size
        compared = objective in ("beta_tc", "infovae", "wae")
        if compared and size < 2 * self.compute.accumulate:
            raise InputError(
                f"batch_size = {size}; {objective} compares the images of a batch:"
                " at least 2 in each part"
            )


class Pixels(NamedTuple):
    """The likelihood of a data set's pixels, and how they are prepared for it."""

    likelihood: Likelihood
    levels: int  # values that a pixel may have
    white: float  # the largest of them
    binarized: bool  # whether pixels become black or white at random

    def protocol(self) -> str:
        """Describes the images that the likelihood models."""
        if self.binarized:
            return (
                f"binarised with probability pixel / {self.white:g}, validation and test once for"
                " all"
            )
        if self.levels == 2:
            return "stored as black and white"
        if self.likelihood.name == "bernoulli":
            return (
                "pixels in 0..1: unless they are binary the elbo is a cross-entropy, no likelihood"
            )
        if self.likelihood.dequantized:
            return f"uniform noise in each of {self.levels} levels; a bound for the discrete images"
        return f"{self.levels} levels"

    def without_noise(self, images):
        """Converts stored images to what the likelihood takes on average; traceable."""
        levels = self.levels
        if self.likelihood.dequantized:
            return (images.astype(jnp.float32) * ((levels - 1) / self.white) + 0.5) / levels
        return images.astype(jnp.float32) / self.white

    def prepare(self, batch, key):
        """Converts the images of a stored batch to those that the likelihood takes; traceable."""
        image = batch["image"].astype(jnp.float32)
        if not (self.binarized or self.likelihood.dequantized):
            return {**batch, "image": image / self.white}
        positions = batch.get("position")
        if positions is None:
            positions = across.positions(len(image))
        elif self.binarized:
            # Evaluation always binarises an image in the same way, for all seeds.
            key = jax.random.key(0)
        keys = example_keys(key, positions)
        noise = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:]))(keys)
        if self.binarized:
            return {**batch, "image": (noise * self.white < image).astype(jnp.float32)}
        levels = self.levels
        return {**batch, "image": (image * ((levels - 1) / self.white) + noise) / levels}


def pixels_of(config: VAEConfig, data: ImageData, channels: int) -> Pixels:
    """Chooses the likelihood and preparation of pixels, from the flags and the data's values.

    Raises:
      InputError: pixels below 0, or pixels that do not fit the flags.
    """
    low, white = data.smallest, data.white
    if low < 0:
        raise InputError(
            f"likelihood = {config.likelihood}; images of '{data.name}' span {low:g}..{white:g};"
            " expected pixels that start at 0, which are scaled to 0..1"
        )
    levels = data.levels
    name = config.likelihood or ("bernoulli" if levels == 2 else "logistic_mixture")
    binarized = (config.binarize or "dynamic") == "dynamic" and name == "bernoulli"
    if config.binarize == "dynamic" and not binarized:
        raise InputError(
            f"binarize = dynamic, likelihood = {name}; binary images have --likelihood bernoulli"
        )
    if name == "logistic_mixture" and not levels:
        raise InputError(
            f"likelihood = {name}; pixels of '{data.name}' are no integers;"
            " expected stored levels of grey, or --likelihood gaussian"
        )
    # Binarising would leave black and white images as they are.
    binarized &= levels != 2
    levels = levels or 256
    likelihood = make_likelihood(
        name, channels, levels, mixtures=config.mixtures, scale=config.scale
    )
    return Pixels(likelihood, levels, white, binarized)


def build(config: VAEConfig, data: ImageData | Metadata | None = None) -> Experiment:
    """Makes the experiment of a config, on the given data or on the data that the config names."""
    flags = config.data if data is None else None
    data = load(config.data, varying=config.resize.image_size > 0, given=data)
    classes = data.known_classes(config.conditional)
    resized = resize_images(data, config.resize.image_size)
    sources = {split: make_source(resized, split, config.data) for split in data.sizes}
    train = sources.pop("train")
    shape = train.spec(1)["image"].shape[1:]
    pixels = pixels_of(config, resized, shape[2])
    model = config.model.create(
        shape=shape,
        parameters=pixels.likelihood.size,
        classes=classes,
        dtype=jnp.dtype(config.compute.precision),
    )
    vae = VariationalAutoencoder(
        model,
        pixels.likelihood,
        config.variational,
        config.optimizer,
        steps=config.run.steps,
        shape=shape,
        dataset_size=train.size,
        classes=classes,
        accumulate=config.compute.accumulate,
        draw=config.draw,
    )
    judges = Judges(config.judges, data, shape, flags) if config.scored else None
    estimate = ImportanceSampling(model, pixels.likelihood, config.samples, classes)
    report = VAEReport(
        config,
        data.class_names,
        reference="test" if "test" in sources else "validation",
        pixels=pixels,
        predict=prepared(vae.predict, pixels.prepare),
        estimate=prepared(estimate.evaluate, pixels.prepare),
        judges=judges,
    )
    return Experiment(
        objective=with_preprocessing(vae, pixels.prepare),
        train=train,
        evaluation=sources,
        monitor="elbo",
        scores=scores_of(VariationalAutoencoder.scores),
        facts={"data": data.facts(), "scaling": [0.0, pixels.white], "levels": pixels.levels},
        after_evaluation=report,
        require_scorable=report.require_scorable,
        prediction=_prediction(config, vae, pixels, resized),
        conditions=conditions_of(
            config.sampling,
            data.class_names if classes else (),
            config.run.count,
            getattr(model, "latent_size", None) if isinstance(model, VAE) else None,
            lambda key, count: draw_latents(key, count, model.latent_size),
            straight=True,
        ),
        elsewhere=images_elsewhere(resized, bool(classes)),
        exports=vae_programs(vae, train.spec(1), pixels.without_noise, data.class_names),
        metadata=data.metadata(),
    )


def _prediction(
    config: VAEConfig, vae: VariationalAutoencoder, pixels: Pixels, data: ImageData
) -> Prediction:
    """Makes the prediction of ELBO and latents, and the reconstruction of pictures. A model that is
    told the class is told that of --label, since pictures do not say it."""

    def read(inputs):
        names = data.class_names
        if vae.classes and not config.sampling.label:
            raise InputError(
                "label = ''; the run's model is told the class of each picture: give it, --label"
                f" NAME, one of {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
        told = {"label": np.int32(names.index(config.sampling.label))} if vae.classes else {}
        for name, columns in read_pictures(inputs, data):
            yield name, columns if isinstance(columns, Exception) else {**columns, **told}

    elbo = prepared(vae.elbo, pixels.prepare)
    infer = prepared(vae.predict, pixels.prepare)

    def predict(state, batch, key):
        latents = jax.tree.leaves(infer(state, batch, key)["latents"])
        flat = [leaf.reshape(len(leaf), -1) for leaf in latents]
        return {"elbo": elbo(state, batch, key), "latent": jnp.concatenate(flat, axis=1)}

    def write(outputs):
        return {"elbo": float(outputs["elbo"]), "latent": outputs["latent"].tolist()}

    def rebuild(state, batch, key):
        return jnp.round(255 * infer(state, batch, key)["reconstruction"]).astype(jnp.uint8)

    return Prediction(read, predict, write, rebuild)


if __name__ == "__main__":
    sys.exit(main(VAEConfig, build, PRESETS))
