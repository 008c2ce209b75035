"""Train a generative adversarial network on images.

    python -m experiments.gan                              # digits
    python -m experiments.gan --data mnist --data-dir DIR
    python -m experiments.gan --preset r3gan --data fashion_mnist --data-dir DIR
    python -m experiments.gan --workdir DIR --mode sample --count 1000 --output samples.npz
    python -m experiments.gan --workdir DIR --mode sample --label 7 --interpolate 8 --output sevens

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores with their protocol), checkpoints/ and samples/ (a grid per evaluation, always from the same
latents; interpolations, classes, nearest training images).
"""

import sys
from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax.numpy as jnp

from experiments.exports.gan import gan_programs
from experiments.parts.elsewhere import images_elsewhere
from experiments.parts.judges import JudgeConfig, Judges
from experiments.parts.sampling import SamplingConfig, conditions_of
from experiments.presets.gan import PRESETS
from experiments.reports.gan import GANReport, scores_of
from jaxmodels.data.images import (
    DataConfig,
    ImageData,
    ResizeConfig,
    load,
    make_source,
    resize_images,
)
from jaxmodels.errors import InputError
from jaxmodels.models.gans import GANModels
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.generation import draw_latents
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.protocol import Metadata
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Experiment,
    ModelSection,
    Role,
    RunConfig,
    Section,
    main,
    require_range,
)


@dataclass(frozen=True, kw_only=True)
class GANConfig(Config):
    """Train, resume, evaluate and sample a generative adversarial network."""

    experiment: ClassVar[str] = "gan"

    run: Section[RunConfig] = RunConfig(
        steps=10_000, batch_size=32, eval_every=2000, checkpoint_every=2000, log_every=200
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[DataConfig] = DataConfig()
    resize: Section[ResizeConfig] = ResizeConfig()
    model: ModelSection[GANModels] = GANModels()
    adversarial: Section[AdversarialConfig] = AdversarialConfig()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(learning_rate=2e-3, momentum=0.5)
    judges: Section[JudgeConfig] = JudgeConfig()
    sampling: Section[SamplingConfig] = SamplingConfig()

    latent_size: int = 64
    """Normal random numbers from which an image is made."""
    conditional: bool = True
    """Make images of a given class; without labels in the data, --no-conditional."""
    samples: Annotated[int, Role.READ] = 10_000
    """Samples that an evaluation scores."""
    neighbours: Annotated[int, Role.READ] = 5
    """k of precision, recall, density and coverage."""
    truncation: Annotated[float, Role.READ] = 0.0
    """Largest absolute latent of samples, for better and less varied ones; 0: no limit."""

    @property
    def batches_per_step(self) -> int:
        return self.adversarial.critic_steps

    def validate(self) -> None:
        super().validate()
        require_range(self, ("latent_size", "neighbours"), 1)
        require_range(self, ("truncation",))
        if self.samples <= self.neighbours:
            raise InputError(
                f"samples = {self.samples}; expected more than neighbours = {self.neighbours}"
            )


def build(config: GANConfig, data: ImageData | Metadata | None = None) -> Experiment:
    """Makes the experiment of a config, on the given data or on the data that the config names."""
    flags = config.data if data is None else None
    data = load(config.data, varying=config.resize.image_size > 0, given=data)
    classes = data.known_classes(config.conditional)
    resized = resize_images(data, config.resize.image_size)
    sources = {split: make_source(resized, split, config.data) for split in data.sizes}
    train = sources.pop("train")
    shape = train.spec(1)["image"].shape[1:]
    generator, discriminator = config.model.create(
        shape=shape, classes=classes, dtype=jnp.dtype(config.compute.precision)
    )
    gan = GAN(
        generator,
        discriminator,
        config.adversarial,
        config.optimizer,
        steps=config.run.steps,
        latent_size=config.latent_size,
        classes=classes,
        truncation=config.truncation,
        accumulate=config.compute.accumulate,
    )
    # This is the white of the data as stored, because resizing blurs the brightest pixel.
    white = data.white

    def prepare(batch, key):
        return {**batch, "image": batch["image"].astype(jnp.float32) * (2 / white) - 1}

    judges = Judges(config.judges, data, shape, flags)
    report = GANReport(config, data.class_names, train, judges, white)
    return Experiment(
        objective=with_preprocessing(gan, prepare),
        train=train,
        evaluation=sources,
        monitor=report.monitor,
        scores=scores_of(GAN.scores),
        facts={"data": data.facts(), "scaling": [0.0, white], "norm": config.model.chosen_norm},
        after_evaluation=report,
        require_scorable=report.require_scorable,
        conditions=conditions_of(
            config.sampling,
            data.class_names if classes else (),
            config.run.count,
            config.latent_size,
            lambda key, count: draw_latents(key, count, config.latent_size, config.truncation),
        ),
        elsewhere=images_elsewhere(resized, bool(classes)),
        exports=gan_programs(gan, data.class_names),
        metadata=data.metadata(),
    )


if __name__ == "__main__":
    sys.exit(main(GANConfig, build, PRESETS))
