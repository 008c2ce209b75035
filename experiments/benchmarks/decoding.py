"""Times writing text token by token with a cache, ours beside PyTorch, on this machine.

    python -m experiments.benchmarks.decoding             # needs the extras 'bench' and 'parity'
    python -m experiments.benchmarks.decoding --models smollm2-135m --turns 9

Prints medians over alternating turns (alternate.py), each peer with one thread or all, whichever is
faster. decoding_peers.py defines what runs. A text has one row, so that a token needs every weight
once: the floor is the time in which the machine reads their bytes.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.decoding_peers import TASKS, weight_bytes

MODULE = "experiments.benchmarks.decoding_peers"
PEERS = {
    "ours": "jaxmodels",
    "torch_eager": "PyTorch eager, by hand",
    "transformers_generate": "transformers.generate",
}
TITLES = {
    "4x128": "GPT-2 4x128, 65 words",
    "gpt2-small": "GPT-2 small, 50,257 words",
    "smollm2-135m": "SmolLM2-135M, 49,152 words",
}
_READ = 1 << 29  # bytes; no cache holds them
_ROW = 512  # numbers


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare writing with peers."""

    models: tuple[str, ...] = tuple(TITLES)
    """Which of 4x128, gpt2-small, smollm2-135m."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, torch_eager, transformers_generate; ours comes first."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 3.0
    """Approximate seconds of a turn."""
    all_cores: bool = False
    """Try no peer with one thread."""


def read_memory(_: str) -> Callable[[int], None]:
    """Runs a peer whose step adds up numbers of half a gigabyte, which is bound by reading them."""
    import jax
    import jax.numpy as jnp

    numbers = jnp.ones((_READ // 4 // _ROW, _ROW))
    add = jax.jit(lambda numbers: jnp.sum(numbers, axis=1))

    def block(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(add(numbers))

    return block


def bandwidth(turns: int, seconds: float) -> float:
    """Prints and returns the bytes per second of `read_memory`."""
    (reading,) = time_in_turns(
        "experiments.benchmarks.decoding", ["read_memory"], "", turns, seconds
    )
    pace = _READ / min(reading.seconds)
    print(f"reading memory: {pace / 1e9:,.1f} GB/s with {reading.threads} threads", flush=True)
    return pace


def table(name: str, timings: Sequence[Timing], pace: float) -> str:
    """Makes the table of a model's peers, the first of which is ours.

    pace: bytes of memory read per second.
    """
    task = TASKS[name]
    needed = weight_bytes(task)
    floor = needed / pace
    title = f"{TITLES.get(name, name)}: {needed / 1e6:,.1f} MB of weights, {task.count} tokens"
    heads = ("tokens/s", "ms/token", "min", "max", "threads", "ours", "floor")
    lines = ["", title, f"{'':30}" + "".join(f"{head:>10}" for head in heads)]
    mine = timings[0]
    for timing in timings:
        if timing.unavailable:
            lines.append(f"{PEERS[timing.peer]:30}  not run ({timing.unavailable})")
            continue
        each = timing.median / task.count
        numbers = [1e3 * n / task.count for n in (min(timing.seconds), max(timing.seconds))]
        columns = f"{1 / each:>10,.1f}{1e3 * each:>10,.2f}"
        columns += "".join(f"{number:>10,.2f}" for number in numbers) + f"{timing.threads:>10}"
        known = timing is not mine and not mine.unavailable
        columns += f"{timing.median / mine.median:>9,.2f}x" if known else f"{'':>10}"
        same = timing.facts.get("text") == mine.facts.get("text")
        other = "" if same else "  writes another text"
        lines.append(f"{PEERS[timing.peer]:30}{columns}{each / floor:>9,.2f}x{other}")
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    for kind, names, known in (("model", config.models, TASKS), ("peer", config.peers, PEERS)):
        unknown = sorted(set(names) - known.keys())
        if unknown:
            sys.exit(f"error: unknown {kind} '{unknown[0]}'; known: {', '.join(known)}")
    pace = bandwidth(config.turns, config.seconds)
    for name in config.models:
        timings = time_in_turns(
            MODULE, config.peers, name, config.turns, config.seconds, config.all_cores
        )
        print(table(name, timings, pace), flush=True)


if __name__ == "__main__":
    main()
