"""What experiments.vae shows of an evaluation: likelihood, distances of samples, pictures."""

import json
import sys
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.judges import Judge, to_bytes
from jaxmodels.data import ImageData
from jaxmodels.metrics import feature_moments, frechet_distance
from jaxmodels.metrics.generative import NAMES
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.pictures import draw_image_grid, draw_scatter, in_pairs
from jaxmodels.protocol import Objective, PyTree
from jaxmodels.train import Evaluation
from jaxmodels.train.compile import EvaluationProgram, keys_of
from jaxmodels.train.devices import make_mesh
from jaxmodels.train.run_folder import write_text

if TYPE_CHECKING:
    from experiments.vae import VAEConfig

TRAVERSALS, TRAVERSED = 8, np.linspace(-3, 3, 11)


class VAEReport:
    """Called after every evaluation. The expensive numbers are of the last one, and of the split
    that is kept for it: test, or validation where there is no test."""

    def __init__(
        self,
        config: "VAEConfig",
        data: ImageData,
        objective: Objective,
        estimate: Objective,
        judges: list[Judge],
        white: float,
        protocol: dict,
    ):
        self._config, self._data, self._white = config, data, white
        self._estimate, self._judges = estimate, judges
        self._reference = "test" if "test" in data.splits else "validation"
        self._protocol = protocol
        self._reports: dict[str, dict] = {}
        options = cpu_compiler_options()
        self._sample = jax.jit(objective.sample, static_argnums=2, compiler_options=options)
        self._draw = jax.jit(objective.sample, compiler_options=options)
        self._predict = jax.jit(objective.predict, compiler_options=options)

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        # On one device: the samples are the same whatever the number of devices.
        state = jax.device_put(jax.device_get(evaluation.state), jax.devices()[0])
        evaluating = self._config.mode == "evaluate"
        ends = evaluation.is_last or evaluating
        more, protocol = {}, dict(self._protocol)
        if ends and evaluation.split == self._reference:
            more |= self._nll(evaluation)
            predicted = evaluation.predict() if self._judges or evaluation.workdir else None
            if self._judges:
                distances, judged = self._distances(evaluation, state, predicted)
                more |= distances
                protocol["distances"] = judged
            if evaluation.workdir:
                self._draw_latents(evaluation, state, predicted)
        protocol["checkpoint"] = self._config.checkpoint if evaluating else "last"
        report = {
            "step": evaluation.step,
            "scores": evaluation.scores | more,
            "protocol": protocol | {"split": evaluation.split, "elbo_samples_per_image": 1},
        }
        if evaluation.workdir is None:
            print(json.dumps(report, indent=1), file=sys.stderr)
            return more
        self._draw_images(evaluation, state)
        self._reports[evaluation.split] = report
        text = json.dumps(self._reports, indent=1) + "\n"
        write_text(evaluation.workdir / "evaluation.json", text)
        return more

    def _nll(self, evaluation: Evaluation) -> dict[str, float]:
        if self._config.model == "vqvae":
            return {}  # with one possible code per image the elbo is all that samples would say
        program = EvaluationProgram(
            self._estimate,
            evaluation.source,
            self._config.eval_batch_size,
            keys_of(self._config.seed).evaluate,
            make_mesh(self._config.mesh),
        )
        return {"nll": program.evaluate(evaluation.state)["nll"].value()}

    def _distances(self, evaluation: Evaluation, state: PyTree, predicted: PyTree):
        """Fréchet distances to the grey images of the split, and how they were taken."""
        samples = np.asarray(self._sample(state, jax.random.key(0), self._config.scored)["images"])
        rebuilt = to_bytes(predicted["reconstruction"], 1.0)
        real = to_bytes(self._data.splits[evaluation.split]["image"], self._white)
        scores, protocol = {}, {}
        for judge in self._judges:
            name = NAMES[judge.space][0]
            moments = feature_moments(judge(real).features)
            for suffix, images in (("", samples), ("_reconstructions", rebuilt)):
                of_images = feature_moments(judge(images).features)
                scores[name + suffix] = frechet_distance(moments, of_images)
            protocol[judge.space] = judge.protocol | {
                "real": len(real),
                "samples": len(samples),
                "samples_are": f"{self._config.draw} of p(x|z), z from the prior",
                "reconstructions_are": "means of p(x|z) at the mean of q(z|x)",
                "labels": "in turn" if self._config.conditional else "none",
            }
        return scores, protocol

    def _labels(self, labels: np.ndarray) -> dict:
        return {"labels": jnp.asarray(labels)} if self._config.conditional else {}

    def _draw_images(self, evaluation: Evaluation, state: PyTree) -> None:
        """Samples of always the same keys, and reconstructions of always the same images."""
        folder, step = evaluation.workdir / "samples", evaluation.step
        samples = np.asarray(self._sample(state, jax.random.key(1), 64)["images"])
        title = f"samples of the prior, step {step}"
        draw_image_grid(samples, folder / f"step-{step:08d}.png", limits=(0, 255), title=title)
        batch = self._shown(evaluation, 32)
        rebuilt = self._predict(state, batch, jax.random.key(0))["reconstruction"]
        draw_image_grid(
            in_pairs(batch["image"], np.asarray(rebuilt)),
            folder / "reconstructions.png",
            limits=(0, 1),
            title=f"{evaluation.split} images, and below each its reconstruction, step {step}",
        )

    def _shown(self, evaluation: Evaluation, count: int) -> dict:
        """The first images of a split, in 0..1, with labels if there are any."""
        batch = {name: column[:count] for name, column in evaluation.source.arrays.items()}
        return batch | {"image": np.asarray(batch["image"], np.float32) / self._white}

    def _draw_latents(self, evaluation: Evaluation, state: PyTree, predicted: PyTree) -> None:
        latents = predicted["latents"]
        if self._config.model == "vqvae":
            return  # nothing lies between two codes
        folder = evaluation.workdir / "samples"
        self._draw_interpolations(evaluation, state, latents, folder / "interpolations.png")
        self._draw_traversals(evaluation, state, latents, folder / "traversals.png")
        leaves = jax.tree.leaves(latents)
        flat = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
        note = "posterior means"
        if flat.shape[1] > 2:
            centered = flat - flat.mean(0)
            _, scale, axes = np.linalg.svd(centered, full_matrices=False)
            flat = centered @ axes[:2].T
            share = np.square(scale[:2]).sum() / np.square(scale).sum()
            note += f", two principal axes ({share:.0%} of the variance)"
        labels = evaluation.source.arrays.get("label")
        names = self._data.class_names
        draw_scatter(flat, folder / "latents.png", labels, names, f"{evaluation.split}: {note}")

    def _decode(self, state: PyTree, latents: PyTree, labels: np.ndarray) -> np.ndarray:
        conditions = {"latents": jax.tree.map(jnp.asarray, latents), **self._labels(labels)}
        return np.asarray(self._draw(state, jax.random.key(0), conditions)["images"])

    def _draw_interpolations(self, evaluation, state, latents, path) -> None:
        """Straight lines from the latents of one image to those of another."""
        weights = np.linspace(0, 1, 10, dtype=np.float32)

        def between(leaf):
            one, other = leaf[:8, None], leaf[8:16, None]
            weight = weights.reshape(1, -1, *[1] * (leaf.ndim - 1))
            mixed = (1 - weight) * one + weight * other
            return mixed.reshape(-1, *leaf.shape[1:])

        labels = np.repeat(self._label_of(evaluation, slice(8)), len(weights))
        images = self._decode(state, jax.tree.map(between, latents), labels)
        title = "each row from one image's latents to another's"
        draw_image_grid(images, path, columns=len(weights), limits=(0, 255), title=title)

    def _draw_traversals(self, evaluation, state, latents, path) -> None:
        """One latent at a time from -3 to 3, the others at an image's posterior mean: those that
        vary most over the images (of a ladder, in its first group that has any)."""
        leaves, tree = jax.tree.flatten(latents)
        first = leaves[0].reshape(len(leaves[0]), -1)
        chosen = np.argsort(-first.var(0), kind="stable")[:TRAVERSALS]
        rows = np.repeat(first[:1], len(chosen) * len(TRAVERSED), axis=0)
        for row, unit in enumerate(chosen):
            here = slice(row * len(TRAVERSED), (row + 1) * len(TRAVERSED))
            rows[here, unit] = TRAVERSED
        repeated = [np.repeat(leaf[:1], len(rows), axis=0) for leaf in leaves[1:]]
        moved = [rows.reshape(-1, *leaves[0].shape[1:]), *repeated]
        labels = np.repeat(self._label_of(evaluation, slice(1)), len(rows))
        images = self._decode(state, jax.tree.unflatten(tree, moved), labels)
        title = "each row one latent from -3 to 3, by falling variance"
        draw_image_grid(images, path, columns=len(TRAVERSED), limits=(0, 255), title=title)

    def _label_of(self, evaluation: Evaluation, rows: slice) -> np.ndarray:
        if self._config.conditional:
            return np.asarray(evaluation.source.arrays["label"][rows])
        return np.zeros(rows.stop, np.int32)
