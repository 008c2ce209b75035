"""Times training steps of recognisers of speech, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.speech_recognition                 # needs the extra 'bench'
    python -m experiments.benchmarks.speech_recognition --models conformer --turns 9

Both train the same network from spectrograms with the CTC loss, AdamW and clipping, on 32 sounds of
5.5 seconds a step. Prints medians over alternating turns (alternate.py), each peer with one thread
or all, whichever is faster. speech_recognition_peers.py defines what runs.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import time_in_turns

MODULE = "experiments.benchmarks.speech_recognition_peers"
PEERS = {"ours": "jaxmodels", "torch_eager": "PyTorch eager"}
TITLES = {
    "conformer": "Conformer 2x96, kernel 15, 32 x 550 frames, 11 labels",
    "lstm": "LSTM 2x96 both directions, 32 x 550 frames, 11 labels",
    "tiny": "a trial",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with PyTorch."""

    models: tuple[str, ...] = ("conformer", "lstm")
    """Which of conformer, lstm."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn."""
    all_cores: bool = False
    """Try no peer with one thread."""


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    unknown = sorted(set(config.models) - TITLES.keys())
    if unknown:
        sys.exit(f"error: unknown model '{unknown[0]}'; known: {', '.join(TITLES)}")
    for name in config.models:
        given = MODULE, tuple(PEERS), name, config.turns, config.seconds, config.all_cores
        print(f"\n{TITLES[name]}\n{'':20}{'ms/step':>10}{'min':>10}{'max':>10}{'threads':>9}")
        timings = time_in_turns(*given)
        for timing in timings:
            if timing.unavailable:
                print(f"{PEERS[timing.peer]:20}  not run ({timing.unavailable})")
                continue
            numbers = timing.median, min(timing.seconds), max(timing.seconds)
            columns = "".join(f"{1e3 * number:>10.1f}" for number in numbers)
            ratio = "" if timing is timings[0] else f"  {timing.median / timings[0].median:.2f}x"
            facts = f"  {timing.facts.get('parameters', '')} parameters"
            print(f"{PEERS[timing.peer]:20}{columns}{timing.threads:>9}{ratio}{facts}", flush=True)


if __name__ == "__main__":
    main()
