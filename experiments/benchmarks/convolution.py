"""Times convolutions by layer and in whole training steps, ours beside plain Flax and PyTorch.

    python -m experiments.benchmarks.convolution                 # needs the extra 'bench'
    python -m experiments.benchmarks.convolution --parts layers --only "DCGAN generator"
    python -m experiments.benchmarks.convolution --parts steps --only ResNet-18 --turns 9
    python -m experiments.benchmarks.convolution --peers ours flax    # on a GPU

All run in float32 with batch 128. Prints medians over alternating turns (alternate.py), each peer
with one thread or all, whichever is faster. The modules *_peers.py define what runs; the DCGAN's
steps are in the order of PyTorch's tutorial (--updates shared).

The part "more" times XLA's own convolutions in our engine's compiled loop, and four seeds in one
program.

GFLOP/s are ours: operations of the convolutions (and linear layers, in steps) over the median;
"of peak" is their share of what a 2048 x 2048 matrix product reaches on this machine. 2.50x means
that a peer takes 2.50 times as long as ours.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import tyro

from experiments.benchmarks import (
    classifier_peers,
    convolution_peers,
    gan_peers,
    resnet_peers,
    seeds_peers,
    vae_peers,
)
from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.step_table import matrix_product_pace
from jaxmodels.errors import InputError, require_known

PARTS = ("layers", "steps", "more")
PEERS = {
    "ours": "jaxmodels",
    "flax": "plain Flax",
    "torch": "PyTorch eager, channels last",
    "compiled": "torch.compile",
}


class Row(NamedTuple):
    """A row of the table.

    functions: the name of each peer's function in the module. flops: operations of a step.
    """

    module: str
    task: str
    functions: dict[str, str]
    flops: Callable[[], int]


def _functions(flax: str, torch: str = "torch_channels_last") -> dict[str, str]:
    return {"ours": "ours", "flax": flax, "torch": torch, "compiled": "torch_compiled"}


ROWS = {
    "layers": {
        name: Row(convolution_peers.__name__, name, _functions("flax"), layer.flops)
        for name, layer in convolution_peers.LAYERS.items()
    },
    "steps": {
        "CNN": Row(
            classifier_peers.__name__,
            "cnn",
            # torch_memory has its network and batches in channels_last.
            _functions("flax_loop", "torch_memory"),
            classifier_peers.TASKS["cnn"].flops,
        ),
        "ResNet-18": Row(
            resnet_peers.__name__, "18", _functions("flax_loop"), lambda: resnet_peers.flops("18")
        ),
        "DCGAN": Row(
            gan_peers.__name__,
            "28",
            {**_functions("flax_loop"), "ours": "shared"},
            lambda: gan_peers.TASKS["28"].flops("shared"),
        ),
        "conv VAE": Row(
            vae_peers.__name__, "conv", _functions("flax_jitted"), vae_peers.TASKS["conv"].flops
        ),
    },
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare convolutions with peers."""

    parts: tuple[str, ...] = PARTS
    """Which of layers, steps, more."""
    only: str = ""
    """Only rows whose name contains this."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Which of ours, flax, torch, compiled."""
    turns: int = 5
    """Timed turns of each peer."""
    seconds: float = 1.0
    """Approximate seconds of a turn."""


def header(peers: tuple[str, ...]) -> str:
    """Makes the heads of the columns: three for ours, two for each other peer."""
    heads = f"{'ms':24}{'MFLOP':>10}"
    for peer in peers:
        heads += f"{peer:>10}" + (f"{'GFLOP/s':>9}{'of peak':>9}" if peer == "ours" else f"{'':>9}")
    return heads


def line(name: str, flops: int, timings: dict[str, Timing], pace: float) -> str:
    """Makes a row of the table, and below it lines for the peers that did not run.

    pace: floating-point operations per second of the matrix product.
    """
    text, reasons = f"{name:24}{flops / 1e6:>10,.0f}", []
    mine = timings.get("ours")
    for peer, timing in timings.items():
        if timing.unavailable:
            reasons.append(f"\n    {peer} did not run: {timing.unavailable}")
            text += f"{'-':>10}" + " " * (18 if peer == "ours" else 9)
            continue
        text += f"{1e3 * timing.median:>10,.2f}"
        if peer == "ours":
            text += f"{flops / timing.median / 1e9:>9,.0f}{flops / timing.median / pace:>9.0%}"
        elif mine and not mine.unavailable:
            text += f"{timing.median / mine.median:>8,.2f}x"
        else:
            text += " " * 9
    return text + "".join(reasons)


def print_native(row_name: str, turns: int, seconds: float) -> None:
    """Prints the time of our step, beside the same program with XLA's own convolutions."""
    module, task, functions, _ = ROWS["steps"][row_name]
    (mine,) = time_in_turns(module, [functions["ours"]], task, turns, seconds)
    name = f"{module}:{functions['ours']}:{task}"
    (theirs,) = time_in_turns(convolution_peers.__name__, ["native"], name, 1, seconds)
    text = f"{row_name}: {1e3 * mine.median:,.1f} ms; with XLA's convolutions in the same loop"
    print(f"{text} {1e3 * theirs.median:,.0f} ms, {theirs.median / mine.median:.1f}x", flush=True)


def print_seeds(turns: int, seconds: float) -> None:
    """Prints the time of four seeds of the CNN in one program, beside one seed."""
    titles = {"map_members": "map_members", "vmap": "vmap", "flax": "vmap of plain Flax"}
    for way, title in titles.items():
        one, four = time_in_turns(seeds_peers.__name__, ["one", "four"], way, turns, seconds)
        if one.unavailable:
            print(f"{title} did not run: {one.unavailable}")
            continue
        text = f"four seeds of the CNN, {title}: {1e3 * four.median:,.1f} ms, one"
        print(f"{text} {1e3 * one.median:,.1f} ms: {four.median / one.median:.2f}x", flush=True)


def main() -> None:
    """Runs the benchmark and prints a table for each part, row by row."""
    config = tyro.cli(BenchmarkConfig)
    try:
        for part in config.parts:
            require_known("part", part, PARTS)
        for peer in config.peers:
            require_known("peer", peer, PEERS)
        rows = {
            part: {name: row for name, row in ROWS[part].items() if config.only in name}
            for part in config.parts
            if part in ROWS
        }
        if not any(rows.values()) and "more" not in config.parts:
            raise InputError(f"only = '{config.only}'; no row has this in its name")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    pace = matrix_product_pace(config.turns, config.seconds)
    for part, chosen in rows.items():
        if chosen:
            print(f"\n{part}\n{header(config.peers)}", flush=True)
        for name, row in chosen.items():
            functions = [row.functions[peer] for peer in config.peers]
            timed = time_in_turns(row.module, functions, row.task, config.turns, config.seconds)
            timings = dict(zip(config.peers, timed, strict=True))
            print(line(name, row.flops(), timings, pace), flush=True)
    if "more" in config.parts:
        print()
        # ResNet-18 is left out, because it is far too slow with XLA's convolutions.
        for name in ("CNN", "DCGAN", "conv VAE"):
            print_native(name, config.turns, config.seconds)
        print_seeds(config.turns, config.seconds)


if __name__ == "__main__":
    main()
