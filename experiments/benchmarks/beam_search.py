"""Times beam search of an encoder-decoder, ours beside transformers' generate, on this machine.

    python -m experiments.benchmarks.beam_search          # needs the extra 'parity'
    python -m experiments.benchmarks.beam_search --models base --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. beam_peers.py defines what runs.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.beam_peers import TASKS

MODULE = "experiments.benchmarks.beam_peers"
PEERS = {"ours": "jaxmodels", "transformers_generate": "transformers.generate"}
TITLES = {
    "tiny": "Marian 2+2 blocks of 128, 8,000 words",
    "small": "Marian 3+3 blocks of 256, 8,000 words",
    "base": "Marian 6+6 blocks of 512, 32,000 words",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare beam search with peers."""

    models: tuple[str, ...] = tuple(TITLES)
    """Which of tiny, small, base."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, transformers_generate; ours comes first."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn."""
    all_cores: bool = False
    """Try no peer with one thread."""


def table(name: str, timings: Sequence[Timing]) -> str:
    """Makes the table of a model's peers, the first of which is ours."""
    task = TASKS[name]
    title = f"{TITLES.get(name, name)}: {task.sentences} sentences of {task.source} tokens at most"
    title += f" become {task.written} tokens each, {task.beams} beams"
    heads = ("sentences/s", "ms/batch", "min", "max", "threads", "ours")
    lines = ["", title, f"{'':30}" + "".join(f"{head:>13}" for head in heads)]
    mine = timings[0]
    for timing in timings:
        if timing.unavailable:
            lines.append(f"{PEERS[timing.peer]:30}  not run ({timing.unavailable})")
            continue
        times = timing.median, min(timing.seconds), max(timing.seconds)
        columns = f"{task.sentences / timing.median:>13,.1f}"
        columns += "".join(f"{1e3 * seconds:>13,.1f}" for seconds in times)
        columns += f"{timing.threads:>13}"
        known = timing is not mine and not mine.unavailable
        columns += f"{timing.median / mine.median:>12,.2f}x" if known else f"{'':>13}"
        same = timing.facts.get("texts") == mine.facts.get("texts")
        lines.append(f"{PEERS[timing.peer]:30}{columns}" + ("" if same else "  writes others"))
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    for kind, names, known in (("model", config.models, TASKS), ("peer", config.peers, PEERS)):
        unknown = sorted(set(names) - known.keys())
        if unknown:
            sys.exit(f"error: unknown {kind} '{unknown[0]}'; known: {', '.join(known)}")
    for name in config.models:
        timings = time_in_turns(
            MODULE, config.peers, name, config.turns, config.seconds, config.all_cores
        )
        print(table(name, timings), flush=True)


if __name__ == "__main__":
    main()
