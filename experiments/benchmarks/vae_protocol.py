"""Compares the test likelihood by pythae's protocol with the published one and with ours.

pythae's own trainer and our engine train the same network, `--preset pythae` of experiments.vae, on
the fixed binarisation of MNIST, epoch by epoch in turn. Our evaluator scores both: pythae's weights
are copied into our parameters, and the copy is checked on random images.
"""

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.pythae_vae import (
    params_of,
    pythae_logits,
    pythae_vae,
    train_pythae,
)
from experiments.presets.vae import PRESETS
from experiments.vae import VAEConfig, build
from jaxmodels.data import Resident
from jaxmodels.errors import RunError
from jaxmodels.objectives.importance_sampling import ImportanceSampling
from jaxmodels.objectives.likelihoods import make_likelihood
from jaxmodels.protocol import PyTree, State
from jaxmodels.train import Experiment, configure
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

if TYPE_CHECKING:
    from pythae.models import VAE

CHECKED = 200  # test images on which pythae's get_nll is compared with our estimate
TOLERANCE = 1e-5


class Scores(NamedTuple):
    """Nats per image: negative ELBOs, and the negative log-likelihood (NaN: not estimated)."""

    train: float  # mean over the steps of the epoch
    validation: float
    test: float
    nll: float
    seconds: float  # of training


class Best(NamedTuple):
    """The epoch of the best validation ELBO."""

    epoch: int
    validation: float
    nll: float
    params: PyTree


class Ours:
    """Our run of the preset, epoch by epoch, and our evaluator of any parameters."""

    def __init__(self, config: VAEConfig, experiment: Experiment):
        mesh = make_mesh()
        self._experiment = experiment
        run = config.run
        self.epoch_steps = experiment.train.size // run.batch_size
        self.program = TrainProgram(
            experiment.objective,
            experiment.train,
            run.batch_size,
            run.steps_per_dispatch,
            run.seed,
            mesh,
        )
        self.program.compile()
        self.state, self._at = self.program.create(), 0
        key = self.program.keys.evaluate
        self._splits = {
            split: SplitProgram(source, run.eval_batch_size, key, mesh)
            for split, source in experiment.evaluation.items()
        }
        shape = experiment.train.arrays["image"].shape[1:]
        self.model = config.model.create(shape=shape, parameters=1)
        self._estimate = ImportanceSampling(
            self.model, make_likelihood("bernoulli", 1, 2), config.samples
        )
        test = np.asarray(experiment.evaluation["test"].arrays["image"], np.float32)
        self._nlls = {
            count: SplitProgram(Resident({"image": test[:count]}), 500, key, mesh)
            for count in (CHECKED, len(test))
        }
        self.test = test

    def start_from(self, params: PyTree) -> None:
        """Replaces the initial parameters."""
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, self.state["params"]):
            raise RunError("pythae's parameters do not fit ours")
        self.state = self._with(params)

    def _with(self, params: PyTree) -> State:
        """Makes the state with other parameters."""
        return {**self.state, "params": jax.device_put(params, self.program.shardings.whole)}

    def epoch(self) -> tuple[float, float]:
        """Trains an epoch; returns its mean negative ELBO, and its seconds."""
        began, window = time.perf_counter(), self.program.zeros()
        end = self._at + self.epoch_steps
        self.state, window = self.program.advance(self.state, window, self._at, end)
        self._at = end
        sums = jax.device_get(window)
        seconds = time.perf_counter() - began
        return -self._experiment.objective.summarize(sums)["elbo"], seconds

    def elbo(self, split: str, params: PyTree) -> float:
        """Computes the negative ELBO of a split, in nats per image."""
        objective = self._experiment.objective
        sums = self._splits[split].sum(objective.evaluate, self._with(params))
        return -objective.summarize(sums)["elbo"]

    def nll(self, params: PyTree, count: int = 0) -> float:
        """Estimates the negative log-likelihood of the first `count` test images; 0: of all."""
        program = self._nlls[count or len(self.test)]
        return program.sum(self._estimate.evaluate, self._with(params))["nll"].value()

    def logits(self, params: PyTree, images: np.ndarray) -> np.ndarray:
        """Computes the logits of p(x|z) at the mean of q(z|x)."""
        found = self.model.apply({"params": params}, images, None, None, method="infer")
        return np.asarray(found.parameters[0])


def _line(*scores: Scores) -> str:
    """Makes the columns of an epoch."""
    cells = []
    for score in scores:
        nll = f"{'' if math.isnan(score.nll) else f'{score.nll:.2f}':>9}"
        elbos = "".join(f"{value:>9.2f}" for value in score[:3])
        cells.append(f"{elbos}{nll}{score.seconds:>7.1f}")
    return "   ".join(cells)


def protocol(
    epochs: int, layers: int, seed: int, data_dir: str | None, own_start: bool, torch_threads: int
) -> None:
    """Trains both, prints a line per epoch, and compares the ends.

    own_start: draws our initial weights from our own distribution instead of PyTorch's.
    torch_threads: of PyTorch; 0: its own choice.

    Raises:
      RunError: pythae's network and ours differ although they have the same weights.
    """
    import torch

    torch.set_num_threads(torch_threads or torch.get_num_threads())
    flags = {"hidden": (400,) * layers, "seed": seed, "data_dir": data_dir, "scored": 0}
    config = configure(VAEConfig(), **PRESETS["pythae"].flags | flags)
    experiment = build(config)
    ours = Ours(config, experiment)
    options = config.model.mlp
    sizes = options.hidden, options.latent_size, ours.test[0].size
    theirs = pythae_vae(*sizes, seed=seed + 1)
    noise = np.random.default_rng(seed).integers(0, 2, ours.test[:100].shape).astype(np.float32)
    difference = np.abs(ours.logits(params_of(theirs), noise) - pythae_logits(theirs, noise)).max()
    if not difference <= TOLERANCE:
        raise RunError(f"logits of pythae's network and of ours differ by {difference:.2g}")
    if not own_start:
        ours.start_from(params_of(pythae_vae(*sizes, seed=seed + 2)))
    start = "its own initial weights" if own_start else "initial weights distributed as PyTorch's"
    print(f"binarized_mnist, 784-{'400-' * layers}40, seed {seed}; ours from {start}")
    print(f"PyTorch with {torch.get_num_threads()} threads")
    print(f"the same weights in both: logits differ by at most {difference:.1e}")
    print("nats per image, -ELBO of one sample but for the NLL of 200; test by our evaluator")
    heads = f"{'train':>9}{'valid':>9}{'test':>9}{'NLL':>9}{'s':>7}"
    print(f"{'':6}{'pythae':<46}jaxmodels\nepoch {heads}   {heads}", flush=True)
    every = 1 if epochs <= 10 else epochs // 10
    best: dict[str, Best] = {}

    def score(name: str, epoch: int, train, validation, seconds, params) -> Scores:
        due = epoch % every == 0 or epoch == epochs
        nll = ours.nll(params) if due else math.nan
        if name not in best or validation < best[name].validation:
            # The parameters are copied, because the next steps donate the state.
            best[name] = Best(epoch, validation, nll, jax.tree.map(np.array, params))
        return Scores(train, validation, ours.elbo("test", params), nll, seconds)

    def after_epoch(epoch: int, train: float, validation: float, seconds: float) -> None:
        of_theirs = score("pythae", epoch, train, validation, seconds, params_of(theirs))
        train, seconds = ours.epoch()
        params = ours.state["params"]
        validation = ours.elbo("validation", params)
        of_ours = score("jaxmodels", epoch, train, validation, seconds, params)
        print(f"{epoch:<6}{_line(of_theirs, of_ours)}", flush=True)

    saved = train_pythae(
        theirs,
        experiment.train.arrays["image"],
        experiment.evaluation["validation"].arrays["image"],
        after_epoch,
        num_epochs=epochs,
        per_device_train_batch_size=config.run.batch_size,
        per_device_eval_batch_size=config.run.batch_size,
        learning_rate=config.optimizer.learning_rate,
        scheduler_cls="MultiStepLR",
        scheduler_params={
            "milestones": [step // ours.epoch_steps for step in config.optimizer.milestones],
            "gamma": config.optimizer.decay_rate,
        },
        seed=seed,
    )
    for name, (epoch, _, nll, params) in best.items():
        nll = ours.nll(params) if math.isnan(nll) else nll
        print(f"{name}, best validation (epoch {epoch}): test NLL {nll:.2f}")
    _compare_estimates(saved, ours)


def _compare_estimates(saved: "VAE", ours: Ours) -> None:
    """Prints pythae's estimate for its saved model beside ours for the same weights and images."""
    import torch

    images = torch.tensor(ours.test[:CHECKED].reshape(CHECKED, -1))
    with torch.no_grad():
        by_pythae = -saved.get_nll(images, n_samples=200)
    by_ours = ours.nll(params_of(saved), CHECKED)
    print(
        f"NLL of the first {CHECKED} test images, weights that pythae saved:"
        f" {by_pythae:.3f} by its get_nll, {by_ours:.3f} by ours"
    )
