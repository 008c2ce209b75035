"""Times training steps on sentences, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.sentences                        # needs the extra 'parity'
    python -m experiments.benchmarks.sentences --parts lstm --turns 9

The parts are the models of experiments.sentiment in the shapes of its presets of MR, and copy, the
pointer-generator of experiments.summarization. Prints medians over alternating turns
(alternate.py), each peer with one thread or all, whichever is faster; step_table.py says what a
floor is. sentences_peers.py defines what runs, torch_sentences.py has the networks in PyTorch.

Ours fills rows up to the longest text of the data. PyTorch runs on the same rows, and once more on
batches cut to their longest row, as collators of its users do.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.sentences_peers import TASKS, Task
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table
from jaxmodels.errors import InputError, require_known
from jaxmodels.train import require_range

MODULE = "experiments.benchmarks.sentences_peers"
PEERS = {
    "ours": "jaxmodels",
    "torch_eager": "PyTorch eager",
    "torch_cut": "PyTorch eager, cut rows",
    "torch_compiled": "torch.compile",
}
PARTS = ("bag", "cnn", "lstm", "transformer", "minilm", "copy")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare training steps with PyTorch."""

    parts: tuple[str, ...] = PARTS
    """Which of bag, cnn, lstm, transformer, minilm, copy."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, torch_eager, torch_cut, torch_compiled; ours comes first."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn, which has at least one step."""
    all_cores: bool = False
    """Try no peer with one thread."""

    def validate(self) -> None:
        """Raises InputError for an unknown name or a number out of range."""
        for part in self.parts:
            require_known("part", part, TASKS)
        for peer in self.peers:
            require_known("peer", peer, PEERS)
        require_range(self, ("turns",), 1)
        require_range(self, ("seconds",), 1e-6)


def steps_table(part: str, timings: list[Timing], pace: float) -> str:
    """Makes the table of a part. All rows have the operations that ours counts, since PyTorch's
    counter knows no LSTM."""
    flops = max((t.facts.get("flops", 0) for t in timings), default=0)
    rows = [Row(PEERS[timing.peer], timing, flops) for timing in timings]
    sizes = [
        f"{PEERS[timing.peer]}: {timing.facts['parameters']:,} parameters"
        for timing in timings
        if not timing.unavailable
    ]
    return "\n".join([step_table(_title(part, TASKS[part]), rows, pace, "ms"), *sizes])


def _title(part: str, task: Task) -> str:
    room = f" and {task.summary[0]}" if task.summary else ""
    return f"{part}: {task.batch} rows of {task.length}{room}, {task.vocabulary:,} tokens"


def main() -> int:
    """Runs the benchmark and prints a table per part; returns the exit code, 2 for bad input."""
    config = tyro.cli(BenchmarkConfig)
    try:
        config.validate()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pace = matrix_product_pace(config.turns, config.seconds)
    for part in config.parts:
        given = MODULE, config.peers, part, config.turns, config.seconds, config.all_cores
        print(steps_table(part, time_in_turns(*given), pace), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
