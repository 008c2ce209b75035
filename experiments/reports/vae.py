"""The report of experiments.vae: likelihood, Fréchet distances of samples, and pictures."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parts.judges import Judges, stored_images, to_bytes
from experiments.reports.gan import columns_by_class
from jaxmodels.data.dataset import ALL
from jaxmodels.metrics import feature_moments, frechet_distance
from jaxmodels.metrics.generative import NAMES
from jaxmodels.pictures import image_grid, in_pairs, scatter_figure
from jaxmodels.protocol import PyTree, Score, Source
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from experiments.vae import Pixels, VAEConfig
    from jaxmodels.train.experiment import PerBatch

TRAVERSALS, TRAVERSED = 8, np.linspace(-3, 3, 11)  # latents, and the values of each
SHOWN = 32  # images beside their reconstructions


def scores_of(objective: Mapping[str, Score]) -> dict[str, Score]:
    """Returns the objective's scores and those of this report."""
    distances = {}
    for space, (name, *_) in NAMES.items():
        meaning = f"Fréchet distance to the split's images, in the space '{space}'"
        distances[name] = Score("lower", "", f"{meaning}, of samples of the prior")
        distances[f"{name}_reconstructions"] = Score("lower", "", f"{meaning}, of reconstructions")
    return {**objective, **distances}


class VAEReport:
    """Scores and shows the model after every evaluation.

    reference: the split of the expensive scores of the last evaluation: test, if there is one. They
      are taken of all of other data too.
    """

    def __init__(
        self,
        config: "VAEConfig",
        class_names: tuple[str, ...],
        reference: str,
        pixels: "Pixels",
        predict: "PerBatch",
        estimate: "PerBatch",
        judges: Judges | None,
    ):
        self._config, self._class_names, self._pixels = config, class_names, pixels
        self._reference, self._judges = reference, judges
        self._predict, self._estimate = predict, estimate

        def shown(state, batch, key):
            """Returns images as the model sees them, and their reconstructions."""
            seen = pixels.prepare(batch, key)["image"]
            return {"image": seen, "reconstruction": predict(state, batch, key)["reconstruction"]}

        self._shown = shown

    def require_scorable(self, sources: Mapping[str, Source]) -> None:
        """Raises InputError if a judge that a flag names is missing or cannot take the images."""
        if self._judges:
            self._judges.require()

    def __call__(self, evaluation: Evaluation) -> Findings:
        scores, protocol, pictures = {}, self._protocol(evaluation), {}
        if evaluation.occasion != "due" and evaluation.split in (self._reference, ALL):
            if self._config.model.model != "vqvae":
                # An image has one possible code, so that samples would not change the ELBO.
                scores["nll"] = evaluation.sum(self._estimate)["nll"].value()
            predicted = evaluation.map(self._predict)
            if self._judges:
                distances, protocol["distances"] = self._distances(evaluation, predicted)
                scores |= distances
            if evaluation.occasion == "last":
                pictures |= self._pictures_of_latents(evaluation, predicted["latents"])
        if evaluation.occasion != "asked":
            pictures |= self._pictures_of_images(evaluation)
        record = {
            "step": evaluation.step,
            "scores": evaluation.scores | scores,
            "protocol": protocol | {"split": evaluation.split, "elbo_samples_per_image": 1},
        }
        return Findings(scores, record, pictures)

    def _protocol(self, evaluation: Evaluation) -> dict:
        ema = self._config.variational.ema
        asked = evaluation.occasion == "asked"
        return {
            "likelihood": self._pixels.likelihood.name,
            "images": self._pixels.protocol(),
            "importance_samples": self._config.samples,
            "parameters": f"average, decay {ema:g}" if ema else "last",
            "checkpoint": self._config.run.checkpoint if asked else "last",
        }

    def _distances(self, evaluation: Evaluation, predicted: PyTree):
        """Computes Fréchet distances to the stored images of the split, with the protocols."""
        samples = evaluation.draw(jax.random.key(0), self._config.scored)["images"]
        rebuilt = to_bytes(predicted["reconstruction"], 1.0)
        real = to_bytes(evaluation.map(stored_images), self._pixels.white)
        scores, protocol = {}, {}
        for judge in self._judges.all:
            name = NAMES[judge.space][0]
            moments = feature_moments(judge(real).features)
            for suffix, images in (("", np.asarray(samples)), ("_reconstructions", rebuilt)):
                others = feature_moments(judge(images).features)
                scores[name + suffix] = frechet_distance(moments, others)
            protocol[judge.space] = judge.protocol | {
                "real": len(real),
                "samples": len(samples),
                "samples_are": f"{self._config.draw} of p(x|z), z from the prior",
                "reconstructions_are": "means of p(x|z) at the mean of q(z|x)",
                "labels": "in turn" if self._config.conditional else "none",
            }
        return scores, protocol

    def _pictures_of_images(self, evaluation: Evaluation) -> dict[str, Callable]:
        """Draws samples and reconstructions, always of the same keys and the same images."""
        step = evaluation.step
        samples = np.asarray(evaluation.draw(jax.random.key(1), 64)["images"])
        named = columns_by_class(self._class_names) if self._config.conditional else {}
        shown = evaluation.map(self._shown, np.arange(SHOWN))
        pairs = in_pairs(shown["image"], shown["reconstruction"])
        title = f"{evaluation.split} images, and below each its reconstruction, step {step}"
        return {
            f"step-{step:08d}": partial(
                image_grid,
                samples,
                limits=(0, 255),
                title=f"samples of the prior, step {step}",
                **named,
            ),
            "reconstructions": partial(image_grid, pairs, limits=(0, 1), title=title),
        }

    def _pictures_of_latents(self, evaluation: Evaluation, latents: PyTree) -> dict[str, Callable]:
        """Draws interpolations, traversals and a map of latents."""
        if self._config.model.model == "vqvae":
            return {}  # nothing lies between two codes
        leaves = jax.tree.leaves(latents)
        labels = None
        if self._class_names:
            rows = np.arange(len(leaves[0]))
            labels = np.asarray(evaluation.examples(rows)["label"])
        flat = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
        flat, note = _on_two_axes(flat)
        title = f"{evaluation.split}: posterior means{note}"
        return {
            "interpolations": self._interpolations(evaluation, latents, labels),
            "traversals": self._traversals(evaluation, latents, labels),
            "latents": partial(scatter_figure, flat, labels, self._class_names, title),
        }

    def _decode(self, evaluation: Evaluation, latents: PyTree, labels: np.ndarray) -> np.ndarray:
        conditions = {"latents": jax.tree.map(jnp.asarray, latents)}
        if self._config.conditional:
            conditions["labels"] = jnp.asarray(labels)
        return np.asarray(evaluation.draw(jax.random.key(0), conditions)["images"])

    def _interpolations(self, evaluation: Evaluation, latents: PyTree, labels) -> Callable:
        """Draws images on straight lines from the latents of one image to those of another."""
        weights = np.linspace(0, 1, 10, dtype=np.float32)

        def between(leaf):
            # A split of fewer images gives fewer rows.
            count = max(1, min(8, len(leaf) // 2))
            one, other = leaf[:count, None], leaf[-count:, None]
            if len(leaf) > 2 * count:
                other = leaf[count : 2 * count, None]
            weight = weights.reshape(1, -1, *[1] * (leaf.ndim - 1))
            mixed = (1 - weight) * one + weight * other
            return mixed.reshape(-1, *leaf.shape[1:])

        mixed = jax.tree.map(between, latents)
        count = len(jax.tree.leaves(mixed)[0]) // len(weights)
        first = np.zeros(count, np.int32) if labels is None else labels[:count]
        images = self._decode(evaluation, mixed, np.repeat(first, len(weights)))
        grid = {"columns": len(weights), "limits": (0, 255), "rows": self._told(first)}
        title = "each row from one image's latents to another's"
        return partial(image_grid, images, title=title, **grid)

    def _told(self, labels: Iterable[int]) -> list[str]:
        """Names the classes that a conditional model was told; none of another model."""
        return [self._class_names[label] for label in labels if self._config.conditional]

    def _traversals(self, evaluation: Evaluation, latents: PyTree, labels) -> Callable:
        """Draws images for one latent at a time from -3 to 3, the others at an image's posterior
        mean. Takes the latents that vary most over the images, in a ladder those of its first
        group."""
        leaves, tree = jax.tree.flatten(latents)
        first = leaves[0].reshape(len(leaves[0]), -1)
        chosen = np.argsort(-first.var(0), kind="stable")[:TRAVERSALS]
        rows = np.repeat(first[:1], len(chosen) * len(TRAVERSED), axis=0)
        for row, unit in enumerate(chosen):
            here = slice(row * len(TRAVERSED), (row + 1) * len(TRAVERSED))
            rows[here, unit] = TRAVERSED
        repeated = [np.repeat(leaf[:1], len(rows), axis=0) for leaf in leaves[1:]]
        moved = [rows.reshape(-1, *leaves[0].shape[1:]), *repeated]
        label = 0 if labels is None else labels[0]
        each = np.full(len(rows), label, np.int32)
        images = self._decode(evaluation, jax.tree.unflatten(tree, moved), each)
        title = "each row one latent from -3 to 3, by falling variance"
        if told := self._told([label]):
            title += f"; class {told[0]}"
        return partial(image_grid, images, columns=len(TRAVERSED), limits=(0, 255), title=title)


def _on_two_axes(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Projects points on their two principal axes; gives a note with their share of variance."""
    if points.shape[1] <= 2:
        return points, ""
    centred = points - points.mean(0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    share = np.square(scale[:2]).sum() / max(np.square(scale).sum(), 1e-30)
    return centred @ axes[:2].T, f", two principal axes ({share:.0%} of the variance)"
