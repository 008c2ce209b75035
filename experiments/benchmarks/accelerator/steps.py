"""Times our training steps beside PyTorch's, eager and compiled, on the same device.

python -m experiments.benchmarks.accelerator.steps MODULE TASK      # FLOPs of our step
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.benchmarks.accelerator.device import peak
from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import Command, OutOfTime, Setting
from experiments.benchmarks.alternate import Timing, time_in_turns

_PACKAGE = "experiments.benchmarks"
_MEMORY = ("resource_exhausted", "out of memory", "outofmemory")


class Comparison(NamedTuple):
    """A training step, and the peers that are timed.

    tasks: tasks of the module; the first that fits into the device's memory is timed.
    tiny: the task in miniature.
    peers: the title of each peer.
    """

    title: str
    module: str
    tasks: tuple[str, ...]
    tiny: str
    peers: dict[str, str]
    precision: str = "float32"


_TORCH = {"torch_channels_last": "PyTorch eager", "torch_compiled": "torch.compile"}
PARTS = {
    "classifier": Comparison(
        "CNN 28x28, 32-64-256, batch 128",
        "classifier_peers",
        ("cnn",),
        "tiny",
        {"ours": "jaxmodels", "torch_memory": "PyTorch eager", "torch_compiled": "torch.compile"},
    ),
    "resnet18": Comparison(
        "ResNet-18 28x28, batch 128",
        "resnet_peers",
        ("18",),
        "tiny",
        {"ours": "jaxmodels", "preset": "jaxmodels, fashion-resnet18's whole step", **_TORCH},
    ),
    "resnet50": Comparison(
        "ResNet-50 224x224, batch",
        "resnet_peers",
        ("50:128", "50:64", "50:32"),
        "tiny50:8",
        {"ours": "jaxmodels", **_TORCH},
        "bfloat16",
    ),
    "dcgan": Comparison(
        "DCGAN 28x28, width 64, batch 128",
        "gan_peers",
        ("28",),
        "8",
        {"shared": "jaxmodels", **_TORCH},
    ),
    "vae": Comparison(
        "VAE of convolutions 28x28, 32 latents, batch 128",
        "vae_peers",
        ("conv",),
        "tiny",
        {"ours": "jaxmodels", **_TORCH},
    ),
}


def run(name: str, setting: Setting, results: Results) -> None:
    """Times the peers of a part and adds a row for each.

    Raises:
      RuntimeError: ours did not run.
    """
    part = PARTS[name]

    def count(task: str) -> Callable[[], float | None]:
        # The count ends before the first turn, while the peers import and compile.
        counting = start_counting(part.module, task, setting)
        return lambda: counted(counting)

    title = f"{name}, in miniature" if setting.miniature else part.title
    compare(part, title, count, setting, results)


def compare(
    part: Comparison,
    title: str,
    count: Callable[[str], Callable[[], float | None]],
    setting: Setting,
    results: Results,
    more: Callable[[str, Timing], dict[str, Any]] = lambda task, timing: {},
) -> None:
    """Times the peers on the first task that fits, and adds a row for each.

    count: begins to count the floating-point operations of a task's step, and returns what waits
      for the number. more: makes further columns of a task and its timing.

    Raises:
      RuntimeError: ours did not run.
    """
    peers = part.peers
    if setting.miniature:
        peers = {peer: title for peer, title in peers.items() if peer != "torch_compiled"}
    for task in (part.tiny,) if setting.miniature else part.tasks:
        number = count(task)
        timings = time_in_turns(
            f"{_PACKAGE}.{part.module}",
            list(peers),
            task,
            setting.turns,
            setting.seconds,
            together=True,
            environment=setting.environment(),
            deadline=setting.deadline,
        )
        flops = number()
        if not any(map(_lacked_memory, timings)):
            break
        results.note(f"{part.title}: {task} does not fit into the device's memory")
    if not setting.miniature:
        title = f"{title} {task.partition(':')[2]}".rstrip()
    for timing in timings:
        row = _row(timing, timings[0], flops, part, setting)
        detail = row.pop("detail")
        columns = row | more(task, timing) | {"detail": detail}
        results.add(step=title, by=peers[timing.peer], **columns)
    if timings[0].unavailable:
        raise RuntimeError(f"ours did not run: {timings[0].unavailable}\n{timings[0].detail}")


def precision_of(part: Comparison, setting: Setting) -> str:
    """Finds the type in which products are computed."""
    rounds = part.precision == "float32" and setting.tf32 and not setting.miniature
    return "tf32" if rounds else part.precision


def _row(
    timing: Timing, mine: Timing, flops: float | None, part: Comparison, setting: Setting
) -> dict[str, Any]:
    precision = precision_of(part, setting)
    most = peak(setting.device["device_kind"], precision)
    pace = flops / timing.median if flops and timing.seconds else None
    known = bool(timing.seconds and mine.seconds)
    memory = timing.facts.get("peak_bytes")
    return {
        "steps_per_second": 1 / timing.median if timing.seconds else None,
        "ms": 1e3 * timing.median if timing.seconds else None,
        "least_ms": 1e3 * min(timing.seconds) if timing.seconds else None,
        "most_ms": 1e3 * max(timing.seconds) if timing.seconds else None,
        "times_ours": timing.median / mine.median if known else None,
        "GFLOP": flops and flops / 1e9,
        "TFLOP/s": pace and pace / 1e12,
        "of_peak": f"{pace / most:.1%}" if pace and most else None,
        "precision": precision,
        "GiB": memory and memory / 2**30,
        "note": f"not run ({timing.unavailable})" if timing.unavailable else "",
        "detail": {"seconds": timing.seconds, "facts": dict(timing.facts), "log": timing.detail},
    }


def _lacked_memory(timing: Timing) -> bool:
    text = f"{timing.unavailable} {timing.detail}".lower()
    return bool(timing.unavailable) and any(words in text for words in _MEMORY)


# Floating-point operations.


def start_counting(module: str, task: str, setting: Setting) -> Command:
    """Starts a process on the CPU that counts the operations of one of our steps."""
    log = setting.runs / "flops" / f"{module}-{task.replace(':', '-')}"
    environment = {"JAX_PLATFORMS": "cpu", "JAXMODELS_NATIVE_CONVOLUTIONS": "1"}
    return Command(setting, __name__, [module, task], log, environment)


def counted(counting: Command) -> float | None:
    """Waits for the counted floating-point operations; None if the count failed."""
    try:
        return json.loads(counting.wait(30).last_line)
    except (OutOfTime, ValueError):
        return None


def _count(module: str, task: str) -> float:
    peers = importlib.import_module(f"{_PACKAGE}.{module}")
    return float(peers.our_step(task).flops())


if __name__ == "__main__":
    sys.stdout.write(f"{_count(*sys.argv[1:])}\n")
