"""Times training steps of BC-ResNet, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.speech_commands            # needs the extra 'bench'
    python -m experiments.benchmarks.speech_commands --tasks 2:64 --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. speech_commands_peers.py defines what runs.
"""

from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import time_in_turns

MODULE = "experiments.benchmarks.speech_commands_peers"
PEERS = {
    "ours": "jaxmodels",
    "torch_eager": "PyTorch eager",
    "torch_compiled": "torch.compile",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with PyTorch."""

    tasks: tuple[str, ...] = ("1:100", "2:64")
    """SCALE:BATCH of each comparison."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, torch_eager, torch_compiled."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 2.0
    """Approximate seconds of a turn."""


def main() -> None:
    """Runs the benchmark and prints a table per task."""
    config = tyro.cli(BenchmarkConfig)
    for task in config.tasks:
        timings = time_in_turns(MODULE, config.peers, task, config.turns, config.seconds)
        scale, _, batch = task.partition(":")
        print(f"\nBC-ResNet-{scale}, batch {batch}, one second of 8 kHz")
        print(f"{'':20}{'ms/step':>10}{'min':>10}{'max':>10}{'threads':>9}{'ours':>8}")
        for timing in timings:
            name = f"{PEERS.get(timing.peer, timing.peer):20}"
            if timing.unavailable:
                print(f"{name}  not run ({timing.unavailable})")
                continue
            numbers = timing.median, min(timing.seconds), max(timing.seconds)
            columns = "".join(f"{1000 * number:>10,.1f}" for number in numbers)
            ratio = timing.median / timings[0].median if timings[0].seconds else float("nan")
            print(f"{name}{columns}{timing.threads:>9}{ratio:>7.2f}x", flush=True)


if __name__ == "__main__":
    main()
