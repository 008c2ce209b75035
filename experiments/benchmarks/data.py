"""Times the streaming of encoded images, ours beside its peers, on this machine.

    python -m experiments.benchmarks.data --data-dir DIR        # needs the extra 'bench'
    python -m experiments.benchmarks.data --parts training

Part decode counts images per second of a stream that nothing consumes, as a mean over all turns,
because threads deliver batches in bursts. Part training compares steps of a CNN on streamed and on
resident MNIST, by medians. Turns alternate (alternate.py); data_peers.py defines what runs. On a
machine with other work, peers with many threads get a larger share of it. DIR is a tfds folder with
MNIST as ArrayRecord.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.data_peers import BATCH, SIZE, STEPS, cores, make_photographs

MODULE = "experiments.benchmarks.data_peers"
PARTS = ("decode", "training")
# For each peer, its title and how many threads or processes decode.
PHOTOGRAPH_PEERS = {
    "ours": ("jaxmodels", "{cores} threads"),
    "ours_workers": ("jaxmodels, --workers", "{cores} processes"),
    "torch_pillow": ("PyTorch DataLoader, Pillow", "in line"),
    "torch_pillow_workers": ("PyTorch DataLoader, Pillow", "{cores} processes"),
    "grain_threads": ("Grain, Pillow", "16 threads"),
    "grain_workers": ("Grain, Pillow", "{cores} processes"),
}
MNIST_PEERS = PHOTOGRAPH_PEERS | {
    "torch_tfds": ("PyTorch DataLoader, tfds", "in line"),
    "torch_tfds_workers": ("PyTorch DataLoader, tfds", "{cores} processes"),
}
_PHOTOGRAPHS = 320


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare streamed data with peers, and with resident data."""

    data_dir: Path | None = None
    """Folder of tfds that has MNIST; default: tfds's own."""
    parts: str = ",".join(PARTS)
    """Which of decode and training."""
    turns: int = 7
    """Timed turns of each peer."""
    seconds: float = 2.0
    """Approximate seconds of a turn."""


def main() -> None:
    """Runs the benchmark and prints its tables."""
    config = tyro.cli(BenchmarkConfig)
    unknown = sorted(set(config.parts.split(",")) - set(PARTS))
    if unknown:
        sys.exit(f"error: unknown part '{unknown[0]}'; known: {', '.join(PARTS)}")
    mnist = f"mnist={config.data_dir or _default_folder()}"
    print(f"{cores()} cores", flush=True)
    if "decode" in config.parts:
        title = f"MNIST, PNG in ArrayRecord, batch {BATCH['mnist']}"
        _decode(title, MNIST_PEERS, mnist, config)
        with tempfile.TemporaryDirectory() as folder:
            photographs = Path(folder, "photographs")
            make_photographs(photographs, _PHOTOGRAPHS)
            sizes = [path.stat().st_size for path in photographs.glob("*/*.jpg")]
            title = (
                f"JPEG of {sum(sizes) / len(sizes) / 1e3:.0f} kB, random resized crop to"
                f" {SIZE} x {SIZE}, batch {BATCH['photographs']}"
            )
            _decode(title, PHOTOGRAPH_PEERS, f"photographs={photographs}", config)
    if "training" in config.parts:
        peers = ["resident", "streamed"]
        timings = time_in_turns(MODULE, peers, mnist, config.turns, config.seconds, all_cores=True)
        print(training_table(timings), flush=True)


def _decode(
    title: str, peers: Mapping[str, tuple[str, str]], task: str, config: BenchmarkConfig
) -> None:
    timings = time_in_turns(MODULE, list(peers), task, config.turns, config.seconds, all_cores=True)
    print(decode_table(title, peers, timings, BATCH[task.partition("=")[0]]), flush=True)


def decode_table(
    title: str, peers: Mapping[str, tuple[str, str]], timings: list[Timing], batch: int
) -> str:
    """Makes a table of images per second; the first timing is ours."""
    heads = ("images/s", "min", "max", "ours is")
    lines = ["", title, f"{'':30}{'decoded by':>14}" + "".join(f"{head:>10}" for head in heads)]
    mine = timings[0]
    for timing in timings:
        name, by = peers[timing.peer]
        name = f"{name:30}{by.format(cores=timing.threads):>14}"
        if timing.unavailable:
            lines.append(f"{name}  not run ({timing.unavailable})")
            continue
        seconds = statistics.mean(timing.seconds)
        paces = [batch / s for s in (seconds, max(timing.seconds), min(timing.seconds))]
        known = timing is not mine and not mine.unavailable
        ratio = f"{seconds / statistics.mean(mine.seconds):,.2f}x" if known else ""
        lines.append(f"{name}" + "".join(f"{pace:>10,.0f}" for pace in paces) + f"{ratio:>10}")
    return "\n".join(lines)


def training_table(timings: list[Timing]) -> str:
    """Makes a table of steps per second; the first timing is that of resident data."""
    title = f"CNN 28x28, 32-64-256, batch {BATCH['mnist']}, on MNIST"
    heads = ("steps/s", "min", "max", "of resident", "waited for data")
    lines = ["", title, f"{'':14}" + "".join(f"{head:>17}" for head in heads)]
    resident = timings[0]
    for timing in timings:
        if timing.unavailable:
            lines.append(f"{timing.peer:14}  not run ({timing.unavailable})")
            continue
        paces = [STEPS / s for s in (timing.median, max(timing.seconds), min(timing.seconds))]
        known = timing is not resident and not resident.unavailable
        share = f"{resident.median / timing.median:.1%}" if known else ""
        lines.append(
            f"{timing.peer:14}"
            + "".join(f"{pace:>17,.1f}" for pace in paces)
            + f"{share:>17}{timing.waited / statistics.mean(timing.seconds):>17.1%}"
        )
    return "\n".join(lines)


def _default_folder() -> str:
    import tensorflow_datasets as tfds

    return str(tfds.core.constants.DATA_DIR)


if __name__ == "__main__":
    main()
