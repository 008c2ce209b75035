"""Compares detectors, ours and those of PyTorch, on this machine: steps, and AP after equal time.

    python -m experiments.benchmarks.detection                  # needs the extra 'parity'
    python -m experiments.benchmarks.detection --parts fcos --turns 9
    python -m experiments.benchmarks.detection --parts quality --data-dir DIR --minutes 40 \\
        --threads 1 --output FILE.json

Parts fcos and detr print medians of training steps over alternating turns, each peer with one
thread or all, whichever is faster (alternate.py; step_table.py says what a floor is). fcos is the
network of the preset bccd, on batches of 16 pictures of 240 x 320, beside torchvision's FCOS with
the same backbone and sizes. detr is DETR as published on a ResNet-18, on batches of 4, beside
transformers' with the losses of all layers. torch_detectors.py says in what they differ;
detection_peers.py defines what runs.

Part quality trains detectors of torchvision and transformers from scratch, one after another, and
scores them (detection_quality.py). Compare it with a run of `experiments.detection` of that time.
"""

import importlib.util
import sys
from dataclasses import dataclass

import tyro

from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.detection_quality import QualityConfig, quality
from experiments.benchmarks.step_table import Row, matrix_product_pace, step_table
from jaxmodels.commands import exit_code_of
from jaxmodels.errors import InputError, require_known
from jaxmodels.train import Section, require_range

MODULE = "experiments.benchmarks.detection_peers"
_TORCH = {
    "torch_eager": "PyTorch eager",
    "torch_channels_last": "PyTorch, channels_last",
    "torch_compiled": "torch.compile",
}
PEERS = {
    "fcos": {"ours": "jaxmodels", "ours_centre": "jaxmodels, focal, centres", **_TORCH},
    "detr": {"ours": "jaxmodels", **_TORCH},
}
TITLES = {
    "fcos": "FCOS, tiny backbone, 16 x 240 x 320; PyTorch's is torchvision's",
    "detr": "DETR on a ResNet-18, 4 x 240 x 320; PyTorch's is transformers'",
}
PARTS = (*PEERS, "quality")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Compare detectors with peers: training steps, and AP after equal time."""

    parts: tuple[str, ...] = tuple(PEERS)
    """Which of fcos, detr, quality."""
    peers: tuple[str, ...] = tuple(PEERS["fcos"])
    """fcos, detr: which of ours, ours_centre (fcos alone), torch_eager, torch_channels_last,
    torch_compiled; ours comes first."""
    turns: int = 7
    """fcos, detr: timed turns of each peer."""
    seconds: float = 3.0
    """fcos, detr: approximate seconds of a turn, which has at least one step."""
    all_cores: bool = False
    """fcos, detr: try no peer with one thread."""
    quality: Section[QualityConfig] = QualityConfig()

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or a missing package."""
        for peer in self.peers:
            require_known("peer", peer, PEERS["fcos"])
        for part in self.parts:
            require_known("part", part, PARTS)
            if not titles_of(self, part) and part in PEERS:
                known = ", ".join(PEERS[part])
                raise InputError(f"peers = {' '.join(self.peers)}; expected, for {part}, {known}")
        require_range(self, ("turns",), 1)
        require_range(self, ("seconds",), 1e-6)
        self.quality.validate()
        for package in ("torch", "torchvision", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"{package} is missing; the benchmark needs the extra parity: pip install -e"
                    " '.[parity]'"
                )


def titles_of(config: BenchmarkConfig, part: str) -> dict[str, str]:
    """Returns the titles of the peers of a part that a config asks for."""
    titles = PEERS.get(part, {})
    return {peer: title for peer, title in titles.items() if peer in config.peers}


def time_steps(config: BenchmarkConfig, part: str, pace: float) -> None:
    """Prints the table of a part, and the sizes of its networks."""
    given = list(titles_of(config, part)), part, config.turns, config.seconds, config.all_cores
    timings = time_in_turns(MODULE, *given)
    print(steps_table(part, timings, pace), flush=True)


def steps_table(part: str, timings: list[Timing], pace: float) -> str:
    """Makes the table of a part."""
    titles = PEERS[part]
    rows = [Row(titles[t.peer], t, t.facts.get("flops", 0)) for t in timings]
    lines = [step_table(TITLES[part], rows, pace, "ms")]
    lines += [
        f"{titles[t.peer]}: {t.facts['parameters']:,} parameters,"
        f" {t.facts['flops'] / 1e9:,.1f} GFLOP a step"
        for t in timings
        if not t.unavailable
    ]
    return "\n".join(lines)


def _compare(config: BenchmarkConfig) -> int:
    config.validate()
    timed = [part for part in config.parts if part in PEERS]
    if timed:
        pace = matrix_product_pace(config.turns, config.seconds)
        for part in timed:
            time_steps(config, part, pace)
    if "quality" in config.parts:
        quality(config.quality)
    return 0


def main() -> int:
    """Runs the benchmark and prints its tables; returns the exit code, 2 for bad input."""
    config = tyro.cli(BenchmarkConfig)
    return exit_code_of(lambda: _compare(config))


if __name__ == "__main__":
    sys.exit(main())
