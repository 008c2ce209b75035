"""Training steps of three classifiers, ours beside its peers on this machine.

    python -m experiments.benchmarks.classifier                 # needs the extra 'bench'
    python -m experiments.benchmarks.classifier --models cnn --turns 9

Medians over alternating turns, each peer at the better of one thread and all; see alternate.py and
classifier_peers.py for what exactly runs. The floor is the step's floating-point operations at
the pace of a 2048 x 2048 matrix product.
"""

import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.classifier_peers import TASKS, Task

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
    """About how long a turn is, in seconds."""


def table(title: str, task: Task, timings: list[Timing], peak: float) -> str:
    """The rows of one model. peak: floating-point operations per second of a matrix product."""
    mine = timings[0].median
    floor = task.flops() / peak
    lines = [
        "",
        f"{title}: {task.flops() / 1e6:,.1f} MFLOP a step, floor {floor * 1e6:,.0f} us",
        f"{'':28}"
        + "".join(f"{head:>10}" for head in ("us/step", "min", "max", "threads", "ours", "floor")),
    ]
    for timing in timings:
        name = PEERS[timing.peer]
        if timing.unavailable:
            lines.append(f"{name:28}  not run ({timing.unavailable})")
            continue
        numbers = [timing.median, min(timing.seconds), max(timing.seconds)]
        columns = "".join(f"{1e6 * number:>10,.0f}" for number in numbers)
        ratio = "" if timing.peer == "ours" else f"{timing.median / mine:,.1f}x"
        share = f"{timing.median / floor:,.1f}x"
        lines.append(f"{name:28}{columns}{timing.threads:>10}{ratio:>10}{share:>10}")
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark and prints a table per model."""
    config = tyro.cli(BenchmarkConfig)
    unknown = sorted(set(config.models) - TASKS.keys())
    if unknown:
        sys.exit(f"error: unknown model '{unknown[0]}'; known: {', '.join(TASKS)}")
    (product,) = time_in_turns(MODULE, ["matrix_product"], "", config.turns, config.seconds)
    peak = 2 * 2048**3 / min(product.seconds)
    print(f"matrix product: {peak / 1e9:,.0f} GFLOP/s with {product.threads} threads")
    for name in config.models:
        timings = time_in_turns(MODULE, list(PEERS), name, config.turns, config.seconds)
        print(table(TITLES[name], TASKS[name], timings, peak), flush=True)


if __name__ == "__main__":
    main()
