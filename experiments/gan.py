"""Train a generative adversarial network on images.

    python -m experiments.gan                              # digits, under two minutes on a CPU
    python -m experiments.gan --data mnist --data-dir DIR
    python -m experiments.gan --preset r3gan --data fashion_mnist --data-dir DIR
    python -m experiments.gan --workdir DIR --mode sample --count 1000 --output samples.npz

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores with their protocol), checkpoints/ and samples/ (a grid per evaluation from always the same
latents, interpolations, classes, nearest training images).
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments.judges import Judge, judges_of, to_bytes
from jaxmodels.data import ImageData, Resident, load_images, resize_images
from jaxmodels.errors import InputError, require_known
from jaxmodels.metrics.generative import NAMES, Features, generative_scores, scores_protocol
from jaxmodels.metrics.neighbours import nearest
from jaxmodels.models import GANS, create_gan
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.gan import gan
from jaxmodels.objectives.generation import draw_latents, interpolate_latents
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.pictures import draw_image_grid, in_pairs
from jaxmodels.protocol import Objective
from jaxmodels.train import Evaluation, Experiment, TrainConfig, main, require_range
from jaxmodels.train.config import workdir_of
from jaxmodels.train.run_folder import write_text

# Samples have collapsed if they cover less of the real images, or if the discriminator tells
# nearly every pair of held-out image and fake apart, so that the generator learns nothing.
COLLAPSED_COVERAGE, SATURATED_ACCURACY = 0.1, 0.995


@dataclass(frozen=True, kw_only=True)
class GANConfig(AdversarialConfig, TrainConfig):
    """Train, resume, evaluate and sample a generative adversarial network."""

    experiment: ClassVar[str] = "gan"
    free_when_read: ClassVar[frozenset[str]] = frozenset(
        {"judge", "inception", "samples", "neighbours", "truncation"}
    )

    preset: str = ""
    """Start from a named set of flags, which others given replace. Known: dcgan, minimax,
    least_squares, wgan_gp, sngan, r3gan."""
    model: str = "dcgan"
    """Architecture of both networks: dcgan, sngan or r3gan."""
    width: int = 32
    """Channels next to the image, which deeper layers have multiples of."""
    latent_size: int = 64
    """Normal random numbers that an image is made from."""
    norm: str = ""
    """Normalisation in the discriminator: none, batch, layer or spectral; empty: the architecture's
    own (dcgan batch, sngan spectral, r3gan none)."""
    conditional: bool = True
    """Make images of a given class; without labels in the data, --no-conditional."""
    image_size: int = 0
    """Resize images to this many pixels a side; 0: as they are."""
    steps: int = 10_000
    """Length of training in steps (generator updates)."""
    batch_size: int = 32
    """Real images per update of the discriminator, over all devices."""
    learning_rate: float = 2e-3
    """Peak learning rate of the generator, and of the discriminator unless it has its own."""
    momentum: float = 0.5
    """Decay of the first moment: of momentum and muon, beta 1 of Adam, AdamW and Lion."""
    eval_every: int = 2000
    """Steps between evaluations."""
    checkpoint_every: int = 2000
    """Steps between checkpoints."""
    log_every: int = 200
    """Steps between lines of training metrics, each their mean since the last line."""
    judge: str = ""
    """Run folder of experiments.classifier whose features scores are computed from; empty: a
    classifier of this data that is trained once and kept (without labels: the pixels)."""
    inception: str = ""
    """File with the weights of the FID Inception network, for FID, KID and Inception score; from
    the published one: python -m jaxmodels.models.inception_weights IN.pth OUT.safetensors."""
    samples: int = 10_000
    """Samples that an evaluation scores."""
    neighbours: int = 5
    """k of precision, recall, density and coverage."""
    truncation: float = 0.0
    """Draw latents beyond this anew, for better and less varied samples; 0: as in training."""

    @property
    def batches_per_step(self) -> int:
        return self.critic_steps

    def validate(self) -> None:
        TrainConfig.validate(self)
        AdversarialConfig.validate(self)
        require_range(self, ("width", "latent_size", "neighbours"), 1)
        require_range(self, ("image_size", "truncation"))
        if self.samples <= self.neighbours:
            raise InputError(
                f"samples = {self.samples}; expected more than neighbours = {self.neighbours}"
            )


# Each loss with what keeps it stable, as its paper has it where it has anything.
PRESETS = {
    # Radford et al. 2016, as in the DCGAN of PyTorch's examples, at the data's own size.
    "dcgan": GANConfig(
        width=64,
        latent_size=100,
        conditional=False,
        steps=3000,
        batch_size=128,
        learning_rate=2e-4,
        schedule="constant",
        ema=0.0,
    ),
    # Goodfellow et al. 2014, eq. 1. It saturates when the discriminator wins, which R1 prevents.
    "minimax": GANConfig(loss="minimax", norm="none", r1=0.1, lazy=8),
    # Mao et al. 2017.
    "least_squares": GANConfig(loss="least_squares", learning_rate=1e-3),
    # Gulrajani et al. 2017: five critic updates a step, Adam (0, 0.9), no BatchNorm in the critic.
    "wgan_gp": GANConfig(
        loss="wasserstein",
        norm="layer",
        gradient_penalty=10.0,
        critic_steps=5,
        learning_rate=5e-4,
        momentum=0.0,
        second_momentum=0.9,
    ),
    # Miyato et al. 2018: hinge loss and spectral normalisation; --model sngan has their networks.
    "sngan": GANConfig(loss="hinge", norm="spectral", learning_rate=1e-3),
    # Huang et al. 2024: relativistic pairs, R1 and R2; --model r3gan has their networks.
    "r3gan": GANConfig(
        loss="relativistic",
        norm="none",
        r1=0.1,
        r2=0.1,
        lazy=4,
        learning_rate=1e-3,
        momentum=0.0,
        second_momentum=0.99,
    ),
}


def build(config: GANConfig) -> Experiment:
    """The experiment that a config describes."""
    data = load_images(
        config.data,
        config.data_dir,
        skip_bad_records=config.skip_bad_records,
        validation_fraction=config.validation_fraction,
    )
    if config.conditional and not data.class_names:
        raise InputError(
            f"conditional = True; data '{config.data}' has no labels: give --no-conditional"
        )
    # Before resizing, which blurs the brightest pixel.
    white = float(data.splits["train"]["image"].max())
    data = resize_images(data, config.image_size)
    shape = data.splits["train"]["image"].shape[1:]
    classes = len(data.class_names) if config.conditional else 0
    require_known("model", config.model, GANS)
    norm = config.norm or GANS[config.model][1].norm
    generator, discriminator = create_gan(
        config.model,
        norm,
        shape=shape,
        width=config.width,
        classes=classes,
        dtype=jnp.dtype(config.precision),
    )
    objective = gan(
        generator,
        discriminator,
        config,
        steps=config.steps,
        latent_size=config.latent_size,
        classes=classes,
        truncation=config.truncation,
        accumulate=config.accumulate,
    )

    def prepare(batch, key):
        return {**batch, "image": batch["image"].astype(jnp.float32) * (2 / white) - 1}

    evaluation = {
        split: Resident(data.splits[split])
        for split in ("validation", "test")
        if split in data.splits
    }
    objective = with_preprocessing(objective, prepare)
    train = Resident(data.splits["train"])
    report, monitor = None, "generator_loss"
    if config.mode != "sample" and not config.debug:
        # What is wrong with the networks should be said before a judge is trained for minutes.
        numbers = config.hyperparameters()
        jax.eval_shape(lambda key: objective.init(key, train.spec(1), numbers), jax.random.key(0))
        for split, source in evaluation.items():
            least = max(config.neighbours + 1, 10 if config.inception else 0)
            if min(source.size, config.samples) < least:
                raise InputError(
                    f"neighbours = {config.neighbours}, samples = {config.samples}; the scores need"
                    f" at least {least} samples and as many images of the {split} split, which has"
                    f" {source.size}"
                )
        judges = judges_of(data, config.data_dir, config.judge, config.inception, shape)
        report = _Report(config, data, objective, judges, white)
        monitor = report.monitor
        if not evaluation:
            print("note: without a validation or test split nothing is scored", file=sys.stderr)
    return Experiment(
        objective=objective,
        hyperparameters=config.hyperparameters(),
        train=train,
        evaluation=evaluation,
        monitor=(monitor, "min"),
        facts={"data": data.facts(), "scaling": [0.0, white], "norm": norm},
        after_evaluation=report,
    )


class _Report:
    """Scores of samples beside the real images of a split, and pictures."""

    def __init__(
        self,
        config: GANConfig,
        data: ImageData,
        objective: Objective,
        judges: list[Judge],
        white: float,
    ):
        self.monitor = NAMES[judges[0].space][0]
        self._config, self._data, self._judges, self._white = config, data, judges, white
        options = cpu_compiler_options()
        self._sample = jax.jit(objective.sample, static_argnums=2, compiler_options=options)
        self._draw = jax.jit(objective.sample, compiler_options=options)
        self._real: dict[str, list[Features]] = {}
        self._fake: tuple[int, list[Features]] = (-1, [])
        self._protocol = {
            "samples_from": f"average of parameters, decay {config.ema:g}"
            if config.ema
            else "last parameters",
            "batch_statistics": "where there are any, recomputed for these parameters over 2,048"
            " latents, not truncated",
            "latents": f"normal, {config.latent_size}, truncation {config.truncation or 'none'}",
            "labels": "in turn" if config.conditional else "none",
            "images": "rounded to 0..255",
            "losses_and_accuracy": "of the last parameters, with running batch statistics",
            "checkpoint": config.checkpoint if config.mode == "evaluate" else "last",
        }
        self._reports = {}
        if config.mode == "train" and not config.overwrite:
            self._reports = self._earlier_reports(workdir_of(config) / "evaluation.json")

    def _earlier_reports(self, path: Path) -> dict[str, dict]:
        """What earlier calls of this run have scored.

        Raises:
          InputError: they did so by another judge.
        """
        if not path.exists():
            return {}
        reports = json.loads(path.read_text())
        for report in reports.values():
            for judge in self._judges:
                then = report.get("protocol", {}).get("judges", {}).get(judge.space, {})
                now = judge.protocol.get("fingerprint")
                if then.get("fingerprint", now) != now:
                    raise InputError(
                        f"{path}: its scores are by another {judge.space} ({then['fingerprint']},"
                        f" now {now}); bring that one back, or --overwrite to start anew"
                    )
        return reports

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        # On one device: the samples are the same whatever the number of devices.
        state = jax.device_put(jax.device_get(evaluation.state), jax.devices()[0])
        if self._fake[0] != evaluation.step:
            samples = self._sample(state, jax.random.key(0), self._config.samples)
            images = np.asarray(samples["images"])
            self._fake = (evaluation.step, [judge(images) for judge in self._judges])
            if evaluation.workdir:
                self._draw_pictures(evaluation, state, images)
        if evaluation.split not in self._real:
            images = to_bytes(evaluation.source.arrays["image"], self._white)
            self._real[evaluation.split] = [judge(images) for judge in self._judges]
        scores, protocols = {}, {}
        for judge, real, fake in zip(self._judges, self._real[evaluation.split], self._fake[1]):
            found = generative_scores(judge.space, real, fake, self._config.neighbours)
            # Neighbours are those that the first judge sees.
            scores = found | scores
            sizes = len(real.features), len(fake.features)
            protocols[judge.space] = judge.protocol | scores_protocol(
                judge.space, *sizes, self._config.neighbours
            )
        if self._judges[0].space == "classifier":
            scores |= _class_shares(self._fake[1][0])
        problems = self._problems(evaluation.scores | scores)
        for problem in problems:
            print(f"step {evaluation.step}, {evaluation.split}: {problem}", file=sys.stderr)
        scores["collapsed"] = float(bool(problems))
        report = {
            "step": evaluation.step,
            "scores": evaluation.scores | scores,
            "collapse": problems,
            "protocol": self._protocol | {"reference": evaluation.split, "judges": protocols},
        }
        if evaluation.workdir is None:
            print(json.dumps(report, indent=1), file=sys.stderr)
            return scores
        self._reports[evaluation.split] = report
        # Selected on validation if there is any, and else not at all: the best is the last.
        chosen = "validation" if "validation" in self._data.splits else "test"
        before = self._reports.get("best", report)
        if evaluation.split == chosen:
            worse = before["scores"][self.monitor] < report["scores"][self.monitor]
            is_best = chosen == "test" or before["step"] > evaluation.step or not worse
            self._reports["best"] = report if is_best else before
        text = json.dumps(self._reports, indent=1) + "\n"
        write_text(evaluation.workdir / "evaluation.json", text)
        return scores

    def _problems(self, scores: dict[str, float]) -> list[str]:
        problems = []
        if scores["coverage"] < COLLAPSED_COVERAGE:
            problems.append(
                f"collapse: coverage {scores['coverage']:.3f} is under {COLLAPSED_COVERAGE};"
                " samples resemble few of the real images"
            )
        # A Wasserstein critic may know all pairs and still teach.
        saturates = self._config.loss != "wasserstein"
        if saturates and scores["discriminator_accuracy"] > SATURATED_ACCURACY:
            problems.append(
                f"saturation: discriminator_accuracy {scores['discriminator_accuracy']:.4f} is over"
                f" {SATURATED_ACCURACY}; the generator has little to learn from"
            )
        return problems

    def _images(self, state, latents, labels=None) -> np.ndarray:
        conditions = {"latents": latents}
        if self._config.conditional:
            conditions["labels"] = jnp.asarray(labels)
        return np.asarray(self._draw(state, jax.random.key(0), conditions)["images"])

    def _draw_pictures(self, evaluation: Evaluation, state, samples: np.ndarray) -> None:
        folder, step = evaluation.workdir / "samples", evaluation.step
        classes = len(self._data.class_names) if self._config.conditional else 1
        fixed = draw_latents(jax.random.key(1), 64, self._config.latent_size)
        grid = self._images(state, fixed, np.arange(64) % classes)
        limits = (0, 255)
        draw_image_grid(
            grid, folder / f"step-{step:08d}.png", limits=limits, title=f"samples, step {step}"
        )
        if not evaluation.is_last:
            return
        ends = fixed[:8, None], fixed[8:16, None]
        between = interpolate_latents(*ends, jnp.linspace(0, 1, 10)[None, :, None])
        images = self._images(state, between.reshape(80, -1), np.repeat(np.arange(8) % classes, 10))
        draw_image_grid(
            images,
            folder / "interpolations.png",
            columns=10,
            limits=limits,
            title="each row from one latent to another",
        )
        if self._config.conditional:
            columns = min(classes, 20)
            labels = np.tile(np.arange(columns), 8)
            images = self._images(state, jnp.repeat(fixed[:8], columns, axis=0), labels)
            draw_image_grid(
                images,
                folder / "classes.png",
                columns=columns,
                limits=limits,
                title="a column per class, a row per latent",
            )
        self._draw_nearest(samples[:16], folder / "nearest.png")

    def _draw_nearest(self, samples: np.ndarray, path: Path) -> None:
        """Each sample above its nearest training image: copies would be alike to the pixel."""
        training = self._data.splits["train"]["image"]
        flat = to_bytes(training, self._white).reshape(len(training), -1)
        found = nearest(samples.reshape(len(samples), -1).astype(np.float32), flat)
        copies = to_bytes(training[found.index[:, 0]], self._white)
        draw_image_grid(
            in_pairs(samples, copies),
            path,
            limits=(0, 255),
            title="samples, and below each the nearest training image",
        )


def _class_shares(fake: Features) -> dict[str, float]:
    """The shares of samples that the judge puts into the rarest and the most frequent class."""
    counts = np.bincount(fake.logits.argmax(-1), minlength=fake.logits.shape[1]) / len(fake.logits)
    return {"rarest_class": float(counts.min()), "commonest_class": float(counts.max())}


if __name__ == "__main__":
    sys.exit(main(GANConfig, build, PRESETS))
