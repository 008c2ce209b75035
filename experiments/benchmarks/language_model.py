"""Times training steps of a GPT-2, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.language_model                 # needs the extra 'bench'
    python -m experiments.benchmarks.language_model --models small --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. language_model_peers.py defines what runs, step_table.py the floor.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import time_in_turns
from experiments.benchmarks.language_model_peers import TASKS
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table

MODULE = "experiments.benchmarks.language_model_peers"
PEERS = {
    "ours": "jaxmodels",
    "ours_on_two": "jaxmodels, batch over 2 devices",
    "torch_eager": "PyTorch eager",
    "torch_compiled": "torch.compile",
}
TITLES = {
    "small": "GPT-2 4x128, context 64, batch 12, 65 words, AdamW",
    "medium": "GPT-2 6x384, context 256, batch 8, 65 words, AdamW",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with peers."""

    models: tuple[str, ...] = ("small", "medium")
    """Which of small, medium."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, ours_on_two, torch_eager, torch_compiled; ours comes first."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn."""
    all_cores: bool = False
    """Try no peer with one thread."""


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    for kind, names, known in (("model", config.models, TITLES), ("peer", config.peers, PEERS)):
        unknown = sorted(set(names) - known.keys())
        if unknown:
            sys.exit(f"error: unknown {kind} '{unknown[0]}'; known: {', '.join(known)}")
    pace = matrix_product_pace(config.turns, config.seconds)
    for name in config.models:
        timings = time_in_turns(
            MODULE, config.peers, name, config.turns, config.seconds, config.all_cores
        )
        rows = [Row(PEERS[timing.peer], timing, TASKS[name].flops()) for timing in timings]
        print(step_table(TITLES[name], rows, pace, "ms"), flush=True)


if __name__ == "__main__":
    main()
