"""The flags that every experiment has, and the identity of a run."""

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from jaxmodels.errors import InputError, require_known

# What may differ between two calls that mean the same run.
_NOT_IDENTITY = {
    "preset",
    "workdir",
    "data_dir",
    "mode",
    "count",
    "output",
    "checkpoint",
    "eval_every",
    "eval_batch_size",
    "checkpoint_every",
    "log_every",
    "steps_per_dispatch",
    "parallel",
    "mesh",
    "overwrite",
    "accept_code_change",
    "debug",
    "loading",
    "workers",
    "skip_bad_records",  # which were skipped is in the facts of the data
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Flags of the engine. An experiment's config inherits them and adds its own."""

    experiment: ClassVar[str] = "experiment"
    # Flags of its own that may be others when a run is evaluated or sampled than in its training.
    free_when_read: ClassVar[frozenset[str]] = frozenset()

    preset: str = ""
    """Start from a named set of flags; other flags given replace its values."""
    data: str = "digits"
    """Data set: digits (embedded), a tfds image data set prepared as ArrayRecord, or a folder of
    images, as ./photos with train/CLASS/*.jpg or CLASS/*.jpg."""
    data_dir: str | None = None
    """Folder of tfds data sets; None: tfds's own default."""
    skip_bad_records: int = 0
    """Most records that may be bad (broken, of another shape, of no class, in two splits) and are
    left out; more are an error that lists them."""
    validation_fraction: float = 0.0
    """Share of the training split to validate with, where the data has no validation split."""
    model: str = "mlp"
    """Architecture."""
    steps: int = 2000
    """Length of training in steps (updates)."""
    batch_size: int = 128
    """Examples per step (per update, where a step has several), over all devices."""
    seed: int = 0
    """Root of all randomness: initial parameters, sample order, noise."""
    workdir: str | None = None
    """Run folder; None: runs/EXPERIMENT/DATA-MODEL-SEED-HASH."""
    mode: Literal["train", "evaluate", "sample"] = "train"
    """train (or resume), evaluate a run's checkpoint, or sample from it."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint evaluate and sample read."""
    count: int = 64
    """Samples to draw (sample)."""
    output: str | None = None
    """File.npz that samples are written to (sample)."""
    eval_every: int = 250
    """Steps between evaluations."""
    eval_batch_size: int = 500
    """Examples per batch of an evaluation; rounded up to a multiple of the devices."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 50
    """Steps between lines of training metrics, each their mean since the last line."""
    steps_per_dispatch: int = 100
    """Most steps in one call of the compiled program; fewer: SIGTERM is answered sooner."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How the step is spread over devices: jit over a mesh, or pmap; the results are the same."""
    mesh: str = ""
    """Axes of devices, as data=4; empty: data over all devices."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters stay float32."""
    accumulate: int = 1
    """Compute a batch's gradient in this many parts, to save memory; BatchNorm sees each alone."""
    overwrite: bool = False
    """Start anew in a workdir that holds another run."""
    accept_code_change: bool = False
    """Go on with a run although the project's source was edited since it began."""
    debug: bool = False
    """Rerun the steps after the last checkpoint and name the first layer that is not finite."""

    def validate(self) -> None:
        """Raises InputError for a number out of range; experiments extend it."""
        for name in (
            "steps",
            "batch_size",
            "count",
            "eval_every",
            "eval_batch_size",
            "checkpoint_every",
            "log_every",
            "steps_per_dispatch",
            "accumulate",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 1")
        require_range(self, ("skip_bad_records",))
        require_range(self, ("validation_fraction",), 0, 1)
        require_known("precision", self.precision, ("float32", "bfloat16"))
        require_known("mode", self.mode, ("train", "evaluate", "sample"))
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed = {self.seed}; expected 0 <= seed < 2^32")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"accumulate = {self.accumulate}; expected a divisor of batch_size"
                f" = {self.batch_size}"
            )

    @property
    def batches_per_step(self) -> int:
        """How many batches a step takes, as one of batches_per_step * batch_size examples."""
        return 1

    @property
    def schedule_ends(self) -> bool:
        """Whether training is laid out over `steps`, so that a run cannot be extended."""
        return False


def require_range(
    config: object, names: tuple[str, ...], low: float = 0.0, high: float = math.inf
) -> None:
    """Raises InputError unless low <= config.name < high, and finite, for each name."""
    for name in names:
        value = getattr(config, name)
        if not (low <= value < high):
            limit = "a finite number" if high == math.inf else f"below {high:g}"
            raise InputError(f"{name} = {value}; expected {limit}, at least {low:g}")


def to_json(config: TrainConfig) -> dict:
    """All fields, as plain values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(config_class: type[TrainConfig], values: dict) -> TrainConfig:
    """The inverse of `to_json`; fields that are not in `values` have their default."""
    fields = {field.name for field in dataclasses.fields(config_class)}
    return config_class(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in fields
        }
    )


def identity(config: TrainConfig) -> dict:
    """The fields that make a run what it is: another value is another run."""
    left_out = _NOT_IDENTITY | (set() if config.schedule_ends else {"steps"})
    return {name: value for name, value in to_json(config).items() if name not in left_out}


def workdir_of(config: TrainConfig) -> Path:
    """The run folder: as named, or runs/EXPERIMENT/DATA-MODEL-SEED-HASH."""
    if config.workdir:
        return Path(config.workdir)
    text = json.dumps(identity(config), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    data = Path(config.data).resolve().name if os.sep in config.data else config.data
    return Path("runs") / config.experiment / f"{data}-{config.model}-{config.seed}-{digest}"
