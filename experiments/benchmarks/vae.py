"""Compares VAEs, ours and its peers, on this machine: training steps, and pythae's protocol.

    python -m experiments.benchmarks.vae --data-dir DIR               # needs the extra 'bench'
    python -m experiments.benchmarks.vae --parts steps --tasks flax --turns 9
    python -m experiments.benchmarks.vae --parts protocol --data-dir DIR --epochs 500 --layers 2

Part steps prints medians over alternating turns (alternate.py), each peer with one thread or all,
whichever is faster. vae_peers.py defines what runs, step_table.py the floor.

Part protocol: pythae publishes a test negative log-likelihood of 89.78 nats of its VAE on the fixed
binarisation of MNIST. Its trainer and our engine train the same network with the same Adam, batch
size and schedule, and the same evaluator scores both; see vae_protocol.py. pythae's script has its
second layers of 400 units commented out: --layers 2 has them.
"""

import importlib.util
import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from experiments.benchmarks.alternate import time_in_turns
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table
from experiments.benchmarks.vae_peers import TASKS
from experiments.benchmarks.vae_protocol import protocol
from jaxmodels.commands import exit_code_of
from jaxmodels.data.images import load_images
from jaxmodels.errors import InputError, require_known
from jaxmodels.train import require_range

PARTS = ("steps", "protocol")
MODULE = "experiments.benchmarks.vae_peers"
PEERS = {
    "ours": "jaxmodels",
    "torch_eager": "PyTorch eager, in memory",
    "torch_channels_last": "PyTorch, channels_last",
    "torch_compiled": "torch.compile, in memory",
    "pythae_trainer": "pythae 0.1.2, its trainer",
    "flax_published": "Flax VAE example, eager",
    "flax_jitted": "the same, step jitted",
}
_MLP = tuple(peer for peer in PEERS if peer != "torch_channels_last")
_CONV = ("ours", "torch_eager", "torch_channels_last", "torch_compiled", "flax_jitted")
CHOSEN = {"flax": _MLP, "pythae": _MLP, "conv": _CONV}
TITLES = {
    "flax": "VAE 784-500-20, batch 128",
    "pythae": "VAE 784-400-40, batch 100",
    "conv": "VAE of convolutions 32-64 and 256 units, 32 latents, batch 128",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare a VAE with peers: training steps, and pythae's protocol."""

    parts: tuple[str, ...] = PARTS
    """Which of steps, protocol."""
    tasks: tuple[str, ...] = tuple(TITLES)
    """steps: which of flax, pythae, conv."""
    turns: int = 7
    """steps: timed turns of each peer."""
    seconds: float = 2.0
    """steps: approximate seconds of a turn."""
    data_dir: str | None = None
    """protocol: folder of tfds data sets, with binarized_mnist; None: tfds's own default."""
    epochs: int = 10
    """protocol: epochs of both; pythae's has 500."""
    layers: Literal[1, 2] = 1
    """protocol: layers of 400 units in the encoder, and as many in the decoder."""
    seed: int = 0
    """protocol: seed of both (their random numbers differ all the same)."""
    own_start: bool = False
    """protocol: draw our initial weights from our own distribution instead of PyTorch's."""
    torch_threads: int = 0
    """protocol: threads of PyTorch; 0: its own choice (the table of steps says which is faster)."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or a missing package."""
        for part in self.parts:
            require_known("part", part, PARTS)
        for task in self.tasks:
            require_known("task", task, TITLES)
        require_range(self, ("turns", "epochs"), 1)
        require_range(self, ("seed",), 0, 2**32 - 1)
        require_range(self, ("seconds",), 1e-6)
        require_range(self, ("torch_threads",))
        for package in ("torch", "pythae"):
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"{package} is missing; the benchmark needs the extra bench: pip install -e"
                    " '.[bench]'"
                )


def time_steps(config: BenchmarkConfig) -> None:
    """Prints a table per task."""
    pace = matrix_product_pace(config.turns, config.seconds)
    for name in config.tasks:
        timings = time_in_turns(MODULE, CHOSEN[name], name, config.turns, config.seconds)
        rows = [Row(PEERS[timing.peer], timing, TASKS[name].flops()) for timing in timings]
        print(step_table(f"{TITLES[name]}, Adam", rows, pace, "us"), flush=True)


def _compare(config: BenchmarkConfig) -> int:
    config.validate()
    if "protocol" in config.parts:
        # Missing data has to show before the long timings.
        load_images("binarized_mnist", config.data_dir)
    if "steps" in config.parts:
        time_steps(config)
    if "protocol" in config.parts:
        protocol(
            config.epochs,
            config.layers,
            config.seed,
            config.data_dir,
            config.own_start,
            config.torch_threads,
        )
    return 0


def main() -> int:
    """Runs the benchmark and prints its tables; returns the exit code, 2 for bad input."""
    config = tyro.cli(BenchmarkConfig)
    return exit_code_of(lambda: _compare(config))


if __name__ == "__main__":
    sys.exit(main())
