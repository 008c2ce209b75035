"""Times our convolutions beside Flax's own on the same device, by layer and in whole steps.

On a GPU both are XLA's native convolutions and should take the same time.
"""

from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import Setting
from experiments.benchmarks.alternate import time_in_turns

# For each title: module, peers, task.
_LAYER = "convolution_peers", ("ours", "flax_looped")
ROWS = {
    "CNN, step in our engine": ("classifier_peers", ("ours", "flax_engine"), "cnn"),
    "ResNet-18, step in our engine": ("resnet_peers", ("ours", "flax_engine"), "18"),
    "layer: ResNet-18 layer2.0": (*_LAYER, "ResNet-18 layer2.0"),
    "layer: DCGAN generator 2": (*_LAYER, "DCGAN generator 2"),
}
TINY = {
    "CNN, step in our engine": ("classifier_peers", ("ours", "flax_engine"), "tiny"),
    "layer: VAE decoder 2": (*_LAYER, "VAE decoder 2"),
}


def run(setting: Setting, results: Results) -> None:
    """Adds a row for each network and layer.

    Raises:
      RuntimeError: one did not run.
    """
    problems = []
    for title, (module, peers, task) in (TINY if setting.miniature else ROWS).items():
        ours, flax = time_in_turns(
            f"experiments.benchmarks.{module}",
            peers,
            task,
            setting.turns,
            setting.seconds,
            together=True,
            environment=setting.environment(),
            deadline=setting.deadline,
        )
        ran = bool(ours.seconds and flax.seconds)
        results.add(
            what=title,
            ms=1e3 * ours.median if ours.seconds else None,
            with_flax_layers_ms=1e3 * flax.median if flax.seconds else None,
            ratio=flax.median / ours.median if ran else None,
            note=ours.unavailable or flax.unavailable,
            detail={
                "seconds": {"ours": ours.seconds, "flax": flax.seconds},
                "logs": [ours.detail, flax.detail],
            },
        )
        if not ran:
            problems.append(title)
    if problems:
        raise RuntimeError(f"did not run: {', '.join(problems)}")
