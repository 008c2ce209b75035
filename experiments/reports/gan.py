"""The report of experiments.gan: scores of samples beside real images, and pictures."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parts.judges import Judges, stored_images, to_bytes
from jaxmodels.errors import InputError
from jaxmodels.metrics.generative import (
    NAMES,
    SCORES,
    Features,
    generative_scores,
    scores_protocol,
)
from jaxmodels.metrics.neighbours import nearest
from jaxmodels.objectives.generation import draw_latents, interpolate_latents
from jaxmodels.pictures import image_grid, in_pairs
from jaxmodels.protocol import Score, Source
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from experiments.gan import GANConfig

# A run has collapsed if its samples cover less of the real images than this, or if the
# discriminator tells more pairs of a held-out image and a fake apart, so that nothing is learned.
COLLAPSED_COVERAGE, SATURATED_ACCURACY = 0.1, 0.995
# The nearest image of a sample is looked for among at most so many training images.
MOST_NEIGHBOURS = 60_000
MOST_COLUMNS = 20  # of a grid with a column for each class


def scores_of(objective: Mapping[str, Score]) -> dict[str, Score]:
    """Returns the objective's scores and those of this report."""
    return {
        **objective,
        **SCORES,
        "rarest_class": Score("higher", "", "share of samples that the judge puts into its rarest"),
        "commonest_class": Score("lower", "", "share of samples in the judge's commonest class"),
        "collapsed": Score("lower", "", "1: coverage is lost, or the discriminator is saturated"),
    }


class GANReport:
    """Scores and shows samples after every evaluation.

    train: the images among which the nearest are looked for. white: the brightest stored pixel.
    """

    def __init__(
        self,
        config: "GANConfig",
        class_names: tuple[str, ...],
        train: Source,
        judges: Judges,
        white: float,
    ):
        self.monitor = NAMES[config.judges.space(bool(class_names))][0]
        self._config, self._train, self._judges, self._white = config, train, judges, white
        self._names = class_names if config.conditional else ()
        self._classes = len(self._names)
        self._real: dict[str, list[Features]] = {}
        self._samples: tuple[int, np.ndarray] = (-1, np.zeros(0))
        self._fake: list[Features] = []
        self._shown: tuple[int, str] = (-1, "")  # step and occasion that have their pictures

    def require_scorable(self, sources: Mapping[str, Source]) -> None:
        """Raises InputError if there are too few samples or images for the scores, or if a judge
        that a flag names is missing or cannot take these images."""
        config = self._config
        least = max(config.neighbours + 1, 10 if config.judges.inception else 0)
        for split, source in sources.items():
            if min(source.size, config.samples) < least:
                raise InputError(
                    f"neighbours = {config.neighbours}, samples = {config.samples}; the scores need"
                    f" at least {least} samples and as many images of the {split} split, which has"
                    f" {source.size}"
                )
        self._judges.require()

    def __call__(self, evaluation: Evaluation) -> Findings:
        self._require_same_judges(evaluation)
        is_new = self._samples[0] != evaluation.step
        if is_new:
            drawn = evaluation.draw(jax.random.key(0), self._config.samples)
            self._samples = evaluation.step, np.asarray(drawn["images"])
            self._fake = [judge(self._samples[1]) for judge in self._judges.all]
        if evaluation.split not in self._real:
            images = to_bytes(evaluation.map(stored_images), self._white)
            self._real[evaluation.split] = [judge(images) for judge in self._judges.all]
        scores, protocols = self._scores(evaluation.split)
        problems = self._problems(evaluation.scores | scores)
        for problem in problems:
            print(f"step {evaluation.step}, {evaluation.split}: {problem}", file=sys.stderr)
        scores["collapsed"] = float(bool(problems))
        record = {
            "step": evaluation.step,
            "scores": evaluation.scores | scores,
            "collapse": problems,
            "protocol": self._protocol(evaluation)
            | {"reference": evaluation.split, "judges": protocols},
        }
        asked_for = (evaluation.step, evaluation.occasion)
        shown = self._shown != asked_for and evaluation.occasion != "asked"
        self._shown = asked_for
        pictures = self._pictures(evaluation) if shown else {}
        return Findings(scores, record, pictures)

    def _require_same_judges(self, evaluation: Evaluation) -> None:
        """Raises InputError if earlier evaluations of this run were by another judge."""
        if evaluation.occasion == "asked":
            return
        for record in evaluation.earlier.values():
            for judge in self._judges.all:
                then = record.get("protocol", {}).get("judges", {}).get(judge.space, {})
                now = judge.protocol.get("fingerprint")
                if then.get("fingerprint", now) != now:
                    raise InputError(
                        f"evaluation.json has scores by another {judge.space}"
                        f" ({then['fingerprint']}, now {now}); bring that one back, or --overwrite"
                        " to start anew"
                    )

    def _scores(self, split: str) -> tuple[dict[str, float], dict[str, dict]]:
        """Scores samples beside real images; returns scores and the protocol of each judge."""
        scores, protocols, neighbours = {}, {}, self._config.neighbours
        for judge, real, fake in zip(self._judges.all, self._real[split], self._fake):
            # Earlier scores win, so that those of neighbours are by the first judge.
            scores = generative_scores(judge.space, real, fake, neighbours) | scores
            sizes = len(real.features), len(fake.features)
            protocols[judge.space] = judge.protocol | scores_protocol(
                judge.space, *sizes, neighbours
            )
        if self._judges.all[0].space == "classifier":
            scores |= _class_shares(self._fake[0])
        return scores, protocols

    def _problems(self, scores: dict[str, float]) -> list[str]:
        problems = []
        if scores["coverage"] < COLLAPSED_COVERAGE:
            problems.append(
                f"collapse: coverage {scores['coverage']:.3f} is under {COLLAPSED_COVERAGE};"
                " samples resemble few of the real images"
            )
        # A Wasserstein critic may tell all pairs apart and still teach.
        saturates = self._config.adversarial.loss != "wasserstein"
        if saturates and scores["discriminator_accuracy"] > SATURATED_ACCURACY:
            problems.append(
                f"saturation: discriminator_accuracy {scores['discriminator_accuracy']:.4f} is over"
                f" {SATURATED_ACCURACY}; the generator has little to learn from"
            )
        return problems

    def _protocol(self, evaluation: Evaluation) -> dict[str, str]:
        config, ema = self._config, self._config.adversarial.ema
        asked = evaluation.occasion == "asked"
        return {
            "samples_from": f"average of parameters, decay {ema:g}" if ema else "last parameters",
            "batch_statistics": "where there are any, recomputed for these parameters over 2,048"
            " latents, not truncated",
            "latents": f"normal, {config.latent_size}, truncation {config.truncation or 'none'}",
            "labels": "in turn" if config.conditional else "none",
            "images": "rounded to 0..255",
            "losses_and_accuracy": "of the last parameters, with running batch statistics",
            "checkpoint": config.run.checkpoint if asked else "last",
        }

    def _pictures(self, evaluation: Evaluation) -> dict[str, Callable]:
        """Draws a grid, always of the same latents; after the last step also the other pictures."""
        step, classes = evaluation.step, max(self._classes, 1)
        grid = partial(image_grid, limits=(0, 255))
        fixed = draw_latents(jax.random.key(1), 64, self._config.latent_size)
        images = self._images(evaluation, fixed, np.arange(64) % classes)
        named = columns_by_class(self._names)
        drawn = partial(grid, images, title=f"samples, step {step}", **named)
        pictures = {f"step-{step:08d}": drawn}
        if evaluation.occasion == "due":
            return pictures
        ends = fixed[:8, None], fixed[8:16, None]
        between = interpolate_latents(*ends, jnp.linspace(0, 1, 10)[None, :, None])
        labels = np.repeat(np.arange(8) % classes, 10)
        images = self._images(evaluation, between.reshape(80, -1), labels)
        title = "each row from one latent to another"
        rows = [self._names[label] for label in labels[::10]] if self._names else []
        pictures["interpolations"] = partial(grid, images, columns=10, title=title, rows=rows)
        if self._classes:
            columns = min(classes, MOST_COLUMNS)
            latents, labels = jnp.repeat(fixed[:8], columns, axis=0), np.tile(np.arange(columns), 8)
            images = self._images(evaluation, latents, labels)
            title = "a column per class, a row per latent"
            pictures["classes"] = partial(
                grid, images, columns=columns, title=title, names=self._names
            )
        pictures["nearest"] = partial(self._nearest, self._samples[1][:16])
        return pictures

    def _images(self, evaluation: Evaluation, latents, labels: np.ndarray) -> np.ndarray:
        conditions = {"latents": latents}
        if self._classes:
            conditions["labels"] = jnp.asarray(labels)
        return np.asarray(evaluation.draw(jax.random.key(0), conditions)["images"])

    def _nearest(self, samples: np.ndarray):
        """Draws each sample above its nearest training image, which shows copies."""
        rows = np.arange(min(self._train.size, MOST_NEIGHBOURS))
        training = to_bytes(self._train.examples(rows)["image"], self._white)
        flat = training.reshape(len(training), -1)
        found = nearest(samples.reshape(len(samples), -1).astype(np.float32), flat)
        title = "samples, and below each the nearest training image"
        if len(rows) < self._train.size:
            title += f" of the first {len(rows):,}"
        pairs = in_pairs(samples, training[found.index[:, 0]])
        return image_grid(pairs, limits=(0, 255), title=title)


def columns_by_class(names: Sequence[str]) -> dict[str, Any]:
    """Makes the arguments of a grid of images of all classes in turn, so that each column is of one
    class and has its name; none where the classes are too many for that, or one."""
    return {"columns": len(names), "names": names} if 1 < len(names) <= MOST_COLUMNS else {}


def _class_shares(fake: Features) -> dict[str, float]:
    """Computes the shares of samples in the judge's rarest and commonest class."""
    counts = np.bincount(fake.logits.argmax(-1), minlength=fake.logits.shape[1]) / len(fake.logits)
    return {"rarest_class": float(counts.min()), "commonest_class": float(counts.max())}
