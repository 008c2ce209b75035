"""Times training steps of three classifiers, ours beside its peers, on this machine.

    python -m experiments.benchmarks.classifier                 # needs the extra 'bench'
    python -m experiments.benchmarks.classifier --models cnn --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. classifier_peers.py defines what runs, step_table.py the floor.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import time_in_turns
from experiments.benchmarks.classifier_peers import TASKS
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table

MODULE = "experiments.benchmarks.classifier_peers"
PEERS = {
    "ours": "jaxmodels",
    "torch_loader": "PyTorch eager, DataLoader",
    "torch_memory": "PyTorch eager, in memory",
    "torch_compiled": "torch.compile, in memory",
    "flax_loop": "Flax MNIST example's loop",
    "keras_fit": "Keras 3 on JAX, fit",
}
TITLES = {
    "net": "100-50-10 net, batch 32, SGD",
    "mlp": "MLP 784-512-512-10, batch 128, momentum",
    "cnn": "CNN 28x28, 32-64-256, batch 128, momentum",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with peers."""

    models: tuple[str, ...] = ("net", "mlp", "cnn")
    """Which of net, mlp, cnn."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 2.0
    """Approximate seconds of a turn."""


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    unknown = sorted(set(config.models) - TITLES.keys())
    if unknown:
        sys.exit(f"error: unknown model '{unknown[0]}'; known: {', '.join(TITLES)}")
    pace = matrix_product_pace(config.turns, config.seconds)
    for name in config.models:
        timings = time_in_turns(MODULE, list(PEERS), name, config.turns, config.seconds)
        rows = [Row(PEERS[timing.peer], timing, TASKS[name].flops()) for timing in timings]
        print(step_table(TITLES[name], rows, pace, "us"), flush=True)


if __name__ == "__main__":
    main()
