"""Times training steps of an encoder-decoder transformer, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.translation                    # needs the extra 'bench'
    python -m experiments.benchmarks.translation --models small --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. translation_peers.py defines what runs.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import time_in_turns
from experiments.benchmarks.translation_peers import PADDING, TASKS

MODULE = "experiments.benchmarks.translation_peers"
PEERS = {"ours": "jaxmodels", "torch_eager": "PyTorch eager", "torch_compiled": "torch.compile"}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with peers."""

    models: tuple[str, ...] = ("tatoeba", "small")
    """Which of tatoeba, small."""
    peers: tuple[str, ...] = ("ours", "torch_eager")
    """Which of ours, torch_eager, torch_compiled; ours comes first."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn."""
    all_cores: bool = False
    """Try no peer with one thread."""


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    for kind, names, known in (("model", config.models, TASKS), ("peer", config.peers, PEERS)):
        unknown = sorted(set(names) - known.keys())
        if unknown:
            sys.exit(f"error: unknown {kind} '{unknown[0]}'; known: {', '.join(known)}")
    for name in config.models:
        task = TASKS[name]
        # Of both sides, in the mean batch.
        real = sum(int((column != PADDING).sum()) for column in task.pairs().values())
        tokens = real * task.batch / task.size
        timings = time_in_turns(
            MODULE, config.peers, name, config.turns, config.seconds, config.all_cores
        )
        print(f"{name}: {task}\n\n| peer | threads | ms a step | real tokens/s | x ours |")
        print("|---|---|---|---|---|")
        for timing in timings:
            if timing.unavailable:
                print(f"| {PEERS[timing.peer]} | - | {timing.unavailable} | | |")
                continue
            ratio = timing.median / timings[0].median
            print(
                f"| {PEERS[timing.peer]} | {timing.threads} | {1e3 * timing.median:.1f} |"
                f" {tokens / timing.median:,.0f} | {ratio:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
