"""Compares DCGANs, ours and its peers, on this machine: steps, and images after equal time.

    python -m experiments.benchmarks.gan --data-dir DIR               # needs the extra 'bench'
    python -m experiments.benchmarks.gan --parts steps --tasks 28
    python -m experiments.benchmarks.gan --parts quality --data-dir DIR --minutes 5 --output FOLDER

Part steps prints medians over alternating turns, each peer with one thread or all, whichever is
faster. gan_peers.py defines what runs and counts the operations of each update, alternate.py times
it, and step_table.py defines the floor of a row.

Part quality trains four GANs for the same time, one after the other: the default of experiments.gan
with labels and without, the DCGAN of PyTorch's tutorial as published (eager, images resized to
64 x 64), and the same code on the images as they are.

- Our time is that of the engine before the first step (tracing and compiling, with nothing cached;
  sending the data to the device; initialising) and that of training, the "seconds" of speed.jsonl.
- PyTorch's time is that of its training loop, with images in memory as the network takes them, and
  with one thread or all, whichever is faster.
- Neither includes imports, reading and resizing the data, or evaluation, saving and sampling.
- Our schedule needs the number of steps in advance. A short run gives the pace, and the number is
  chosen to take a little less than the budget. If ours still takes longer, PyTorch gets as long.
- The table has the time that each really took, and steps and images per second of that time, in
  which ours compiles.

A classifier of the data (parts.judges) scores samples at the size of the data against all
test images. Samples of 64 x 64 are brought back to that size in two ways: by the bilinear filter
with antialias, and by undoing the resizing of the training images (least squares). The distance of
real images to themselves after each way is printed. PyTorch's generators are sampled with running
averages and with the moments of the batch in BatchNorm. The way with the least Fréchet distance
counts.
"""

import contextlib
import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tyro
from jaxtyping import UInt8

from experiments import gan
from experiments.benchmarks.alternate import time_in_turns
from experiments.benchmarks.gan_peers import TASKS
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table
from experiments.benchmarks.torch_dcgan import RESIZINGS, torch_resize, torch_train
from experiments.parts.judges import Judge, JudgeConfig, Judges, to_bytes
from jaxmodels.commands import exit_code_of
from jaxmodels.data import Resident
from jaxmodels.data.images import ImageData, load_images
from jaxmodels.errors import InputError, RunError, require_known
from jaxmodels.metrics.frechet import feature_moments, frechet_distance
from jaxmodels.metrics.generative import NAMES, Features, generative_scores
from jaxmodels.models.dcgan import halved_sizes
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.pictures import image_grid, save_figure
from jaxmodels.train import Experiment, configure, require_range, train

PARTS = ("steps", "quality")
MODULE = "experiments.benchmarks.gan_peers"
PEERS = {  # title, and update as `Task.flops` names it
    "ours": ("jaxmodels, alternating", "fresh"),
    "shared": ("jaxmodels, shared", "shared"),
    "simultaneous": ("jaxmodels, simultaneous", "simultaneous"),
    "torch_eager": ("PyTorch eager", "shared"),
    "torch_channels_last": ("PyTorch, channels_last", "shared"),
    "torch_compiled": ("torch.compile", "shared"),
    "flax_loop": ("Flax layers, loop", "shared"),
}
TUTORIAL_SIZE = 64
SAMPLES = 10_000
CALIBRATION_STEPS = 100
MARGIN = 0.97  # share of the time left for training that our schedule is chosen to take

Images = UInt8[np.ndarray, "count height width channels"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare a DCGAN with peers: training steps, and images after equal time."""

    parts: tuple[str, ...] = PARTS
    """Which of steps, quality."""
    tasks: tuple[str, ...] = ("28", "64")
    """steps: pixels a side: 28, 64."""
    turns: int = 5
    """steps: timed turns of each peer."""
    seconds: float = 2.0
    """steps: approximate seconds of a turn, which has at least one step."""
    data: str = "fashion_mnist"
    """quality: data set."""
    data_dir: str | None = None
    """quality: folder of tfds data sets; None: tfds's own default."""
    minutes: float = 5.0
    """quality: minutes of training of each, our compiling included."""
    no_labels: bool = True
    """quality: also train ours without labels, as PyTorch's is trained."""
    peer_28: bool = True
    """quality: also train PyTorch's networks on images as they are, not resized to 64 x 64."""
    seed: int = 0
    """quality: seed of every run."""
    workdir: str | None = None
    """quality: folder for our run, which must not hold anything; None: a temporary one."""
    output: str | None = None
    """quality: folder for a grid of samples of each; None: none."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or a folder in use."""
        for part in self.parts:
            require_known("part", part, PARTS)
        for task in self.tasks:
            require_known("task", task, TASKS)
        require_range(self, ("turns",), 1)
        require_range(self, ("seed",), 0, 2**32)
        for name in ("seconds", "minutes"):
            require_range(self, (name,), 1e-6)
        if self.workdir and Path(self.workdir).is_dir() and any(Path(self.workdir).iterdir()):
            raise InputError(f"workdir {self.workdir} is not empty; name another --workdir")
        if importlib.util.find_spec("torch") is None:
            raise InputError(
                "torch is missing; the benchmark needs the extra bench: pip install -e '.[bench]'"
            )


# Steps.


def time_steps(config: BenchmarkConfig) -> None:
    """Prints a table per task."""
    pace = matrix_product_pace(config.turns, config.seconds)
    for name in config.tasks:
        task = TASKS[name]
        rows = []
        for timing in time_in_turns(MODULE, list(PEERS), name, config.turns, config.seconds):
            title, update = PEERS[timing.peer]
            rows.append(Row(title, timing, task.flops(update)))
        title = f"DCGAN {task.size}x{task.size}x1, batch 128, width 64"
        print(step_table(title, rows, pace, "ms"), flush=True)


# Quality.


class Trained(NamedTuple):
    """A run and its samples, in 0..255 at the size of the data."""

    name: str
    images: Images
    steps: int
    seen: int  # real images
    seconds: float
    note: str


class _Clocked(Resident):
    """Resident images that record when the engine asks for batches: to compile, then to train."""

    def __init__(self, columns):
        super().__init__(columns)
        self.asked: list[float] = []

    def send(self, order, spans, length):
        """Sends batches as Resident does, and records the time."""
        self.asked.append(time.perf_counter())
        return super().send(order, spans, length)


class _Run(NamedTuple):
    """One of our runs, with the seconds before its first step and those of training."""

    experiment: Experiment
    state: dict
    batch_size: int
    preparation: float
    training: float


def _train_ours(config: BenchmarkConfig, conditional: bool, steps: int, workdir: str) -> _Run:
    """Trains the default of experiments.gan, with labels or without, for some steps."""
    settings = configure(
        gan.GANConfig(),
        data=config.data,
        data_dir=config.data_dir,
        seed=config.seed,
        conditional=conditional,
        steps=steps,
        workdir=workdir,
        # The time of an evaluation does not count, so there is only the one at the end.
        eval_every=steps,
        checkpoint_every=steps,
    )
    jax.clear_caches()
    built = []

    def build(settings):
        experiment = gan.build(settings)
        # `quality` scores the samples of all runs in the same way.
        experiment = experiment._replace(
            train=_Clocked(experiment.train.arrays),
            after_evaluation=None,
            monitor="generator_loss",
        )
        built.append((experiment, time.perf_counter()))
        return experiment

    # Standard output is for the tables of the benchmark.
    with contextlib.redirect_stdout(sys.stderr):
        result = train(build, settings)
    if not result.finished:
        raise RunError("our training was interrupted")
    experiment, began = built[0]
    lines = (Path(workdir) / "speed.jsonl").read_text().splitlines()
    preparation = experiment.train.asked[1] - began
    training = json.loads(lines[-1])["seconds"]
    return _Run(experiment, result.state, settings.run.batch_size, preparation, training)


def _ours(config: BenchmarkConfig, name: str, conditional: bool, budget: float) -> Trained:
    """Trains ours within the budget, in seconds, and samples."""
    with tempfile.TemporaryDirectory() as folder:
        _announce(f"{name}: {CALIBRATION_STEPS} steps, to find its pace")
        trial = _train_ours(config, conditional, CALIBRATION_STEPS, f"{folder}/trial")
        pace = trial.training / CALIBRATION_STEPS
        steps = int(MARGIN * (budget - trial.preparation) / pace)
        if steps < 1:
            raise InputError(
                f"minutes = {config.minutes:g}; expected more than the"
                f" {trial.preparation + pace:.0f} s that compiling and one step of ours take"
            )
        _announce(f"{name}: {steps:,} steps, about {steps * pace + trial.preparation:.0f} s")
        workdir = config.workdir if conditional and config.workdir else f"{folder}/run"
        run = _train_ours(config, conditional, steps, workdir)
    options = cpu_compiler_options()
    sample = jax.jit(run.experiment.objective.sample, static_argnums=2, compiler_options=options)
    images = np.asarray(sample(run.state, jax.random.key(0), SAMPLES)["images"])
    seconds = run.preparation + run.training
    note = f"{run.preparation:.1f} s to the first step + {run.training:.1f} s of training"
    return Trained(name, images, steps, steps * run.batch_size, seconds, note)


def _torch(
    name: str,
    images: Images,
    size: tuple[int, int],
    config: BenchmarkConfig,
    budget: float,
    judge: Judge,
    real: Features,
) -> Trained:
    """Trains the tutorial on images resized to `size` for the budget, in seconds, and samples."""
    _announce(f"{name}: {budget:.0f} s")
    run = torch_train(images, size, budget, config.seed, SAMPLES)
    distances = {names: _distance(real, judge(found)) for names, found in run.samples.items()}
    best = min(distances, key=distances.get)
    ways = "; ".join(
        f"{', '.join(filter(None, names))} {distance:.4g}" for names, distance in distances.items()
    )
    note = f"threads: {run.threads}; Fréchet distance by how it is sampled: {ways}"
    return Trained(name, run.samples[best], run.steps, run.seen, run.seconds, note)


def quality(config: BenchmarkConfig, data: ImageData) -> None:
    """Trains all, prints their scores, and draws samples."""
    # A program that the trial run or an earlier one cached would need no compiling.
    jax.config.update("jax_enable_compilation_cache", False)
    training, test = (_to_bytes(data, split) for split in ("train", "test"))
    size, budget = test.shape[1:3], 60 * config.minutes
    judge = Judges(JudgeConfig(), data, test.shape[1:]).all[0]
    real = judge(test)
    tutorial = (TUTORIAL_SIZE, TUTORIAL_SIZE)
    sizes = {"PyTorch tutorial": tutorial}
    if config.peer_28 and size != tutorial:
        sizes[f"PyTorch at {size[0]}x{size[1]}"] = size
    runs = [_ours(config, "jaxmodels", bool(data.class_names), budget)]
    if data.class_names and config.no_labels:
        runs.append(_ours(config, "jaxmodels, no labels", False, budget))
    budget = max(budget, *(run.seconds for run in runs))
    for name, trained_at in sizes.items():
        runs.append(_torch(name, training, trained_at, config, budget, judge, real))
    scores = {}
    for run in runs:
        scores[run.name] = generative_scores(judge.space, real, judge(run.images))
        if config.output:
            path = Path(config.output) / f"{run.name.lower().replace(' ', '-')}.png"
            title = f"{run.name}: {run.steps:,} steps in {run.seconds:.0f} s"
            save_figure(image_grid(run.images[:64], limits=(0, 255), title=title), path)
    print(quality_table(config, judge.space, runs, scores))
    print("\nFréchet distance of the test images to")
    evenly = np.arange(len(test)) * len(training) // len(test)
    print(f"  as many training images: {_distance(real, judge(training[evenly])):.4g}")
    larger = torch_resize(test, tutorial)
    for name, resize in RESIZINGS.items():
        distance = _distance(real, judge(resize(larger, size)))
        print(f"  themselves, resized to 64x64 and back ({name}): {distance:.4g}", flush=True)


def quality_table(
    config: BenchmarkConfig, space: str, runs: list[Trained], scores: dict[str, dict[str, float]]
) -> str:
    """Makes a table with a column per run, ours first; brackets hold the ratio to ours."""
    frechet, kernel, classifier_score = NAMES[space]
    rows: dict[str, list[float]] = {}
    names = (frechet, kernel, "precision", "recall", "density", "coverage", classifier_score)
    for name in filter(None, names):
        rows[name] = [scores[run.name][name] for run in runs]
    if classifier_score:
        of_real = scores[runs[0].name][f"{classifier_score}_real"]
        rows[f"{classifier_score} (real: {of_real:.2f})"] = rows.pop(classifier_score)
    rows["steps"] = [run.steps for run in runs]
    rows["steps/s"] = [run.steps / run.seconds for run in runs]
    rows["images/s"] = [run.seen / run.seconds for run in runs]
    rows["seconds"] = [run.seconds for run in runs]
    lines = [
        "",
        f"{config.data}, {config.minutes:g} min of training each, {SAMPLES:,} samples,"
        f" seed {config.seed}",
        f"{'':32}" + "".join(f"{run.name:>24}" for run in runs),
    ]
    for name, values in rows.items():
        cells = []
        for index, value in enumerate(values):
            ratio = f"({value / values[0]:.2f}x)" if index and values[0] else ""
            cells.append(f"{_short(value):>15}{ratio:>9}")
        lines.append(f"{name:32}" + "".join(cells))
    lines += [f"{run.name}: {run.note}" for run in runs]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _distance(real: Features, other: Features) -> float:
    return frechet_distance(feature_moments(real.features), feature_moments(other.features))


def _to_bytes(data: ImageData, split: str) -> Images:
    """Returns the images of a split in 0..255."""
    return to_bytes(data.splits[split]["image"], data.white)


def _announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _compare(config: BenchmarkConfig) -> int:
    config.validate()
    data = None
    if "quality" in config.parts:
        # Missing data has to show before the long timings.
        data = load_images(config.data, config.data_dir)
        if "test" not in data.splits:
            raise InputError(f"data '{config.data}' has no test split; name other --data")
        halved_sizes(data.shape)
    if "steps" in config.parts:
        time_steps(config)
    if data:
        quality(config, data)
    return 0


def main() -> int:
    """Runs the benchmark and prints its tables; returns the exit code, 2 for bad input."""
    config = tyro.cli(BenchmarkConfig)
    return exit_code_of(lambda: _compare(config))


if __name__ == "__main__":
    sys.exit(main())
