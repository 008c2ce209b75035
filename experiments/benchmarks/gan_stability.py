"""Trains each loss of experiments.gan for a short time with many seeds.

    python -m experiments.benchmarks.gan_stability --data mnist --data-dir DIR --seeds 0 1 2 3 4

Prints a line per run and a table: how many runs collapsed (experiments/reports/gan.py has the
bounds), and the spread over seeds of the scores on the test split.
"""

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import tyro

from experiments.gan import GANConfig, build
from experiments.presets.gan import PRESETS
from jaxmodels.errors import RunError, require_known
from jaxmodels.train import configure, train

SCORES = ("frechet_classifier", "classifier_score", "coverage", "rarest_class")


@dataclass(frozen=True, kw_only=True)
class StabilityConfig:
    """Train many seeds of the GAN experiment for a short time each."""

    presets: tuple[str, ...] = ("default", "minimax", "least_squares", "wgan_gp", "sngan", "r3gan")
    """Presets of experiments.gan; default: no preset."""
    seeds: tuple[int, ...] = tuple(range(10))
    """Seeds of each."""
    data: str = "mnist"
    """Data set."""
    data_dir: str | None = None
    """Folder of tfds data sets; None: tfds's own default."""
    steps: int = 1000
    """Length of each run in steps."""
    samples: int = 5000
    """Samples that are scored after the last step."""


def run(config: StabilityConfig, preset: str, seed: int) -> dict[str, float]:
    """Trains once; returns the scores on the test split, collapsed = 1 also if it failed."""
    flags = {} if preset == "default" else PRESETS[preset].flags
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        short = configure(
            configure(GANConfig(), **flags),
            data=config.data,
            data_dir=config.data_dir,
            seed=seed,
            steps=config.steps,
            eval_every=config.steps,
            checkpoint_every=config.steps,
            samples=config.samples,
            workdir=f"{folder}/run",
        )
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                scores = train(build, short).scores["test"]
        except RunError:
            return {name: np.nan for name in SCORES} | {"collapsed": 1.0}
    return {name: scores[name] for name in (*SCORES, "collapsed")}


def main() -> None:
    """Runs all seeds of all presets and prints the table."""
    config = tyro.cli(StabilityConfig)
    for preset in config.presets:
        require_known("preset", preset, ("default", *PRESETS))
    lines = [f"{'':16}{'seeds':>6}{'collapsed':>10}" + "".join(f"{name:>24}" for name in SCORES)]
    for preset in config.presets:
        found = []
        for seed in config.seeds:
            found.append(run(config, preset, seed))
            text = " ".join(f"{name}={value:.4g}" for name, value in found[-1].items())
            print(f"{preset} seed={seed} {text}", file=sys.stderr, flush=True)
        columns = {name: np.array([scores[name] for scores in found]) for name in found[0]}
        spread = [
            f"{np.nanmean(c):.3g} ({np.nanmin(c):.3g}..{np.nanmax(c):.3g})"
            for c in (columns[name] for name in SCORES)
        ]
        collapsed = int(columns["collapsed"].sum())
        line = f"{preset:16}{len(found):>6}{collapsed:>10}" + "".join(f"{s:>24}" for s in spread)
        lines.append(line)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
