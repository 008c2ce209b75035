"""The flags of a run that every experiment has, and those of how a step computes."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from jaxmodels.errors import InputError, require_known
from jaxmodels.ops.rematerialize import REMATS
from jaxmodels.roles import Role

Mode = Literal["train", "evaluate", "sample", "predict", "export"]
Format = Literal["safetensors", "stablehlo", "onnx", "saved_model", "keras"]
Precision = Literal["float32", "bfloat16"]
Nonfinite = Literal["stop", "skip", "rollback"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how often and where."""

    preset: Annotated[str, Role.VERB] = ""
    """Start from a named set of flags; other flags given replace its values."""
    steps: int = 2000
    """Length of training in steps (updates)."""
    batch_size: int = 128
    """Examples per step (per update, where a step has several), over all devices."""
    seed: int = 0
    """Root of all randomness: initial parameters, sample order, noise."""
    repeat: Annotated[int, Role.VERB] = 1
    """Train so many seeds, seed, seed + 1, ..., one after another, each in WORKDIR/seed-N; the last
    line and comparison.html have their mean and standard deviation."""
    workdir: Annotated[str | None, Role.VERB] = None
    """Run folder; None: runs/EXPERIMENT/DATA-MODEL-SEED-HASH."""
    mirror: Annotated[str | None, Role.VERB] = None
    """URL of a folder in a bucket (gs://, s3://) that gets a copy of the run at every checkpoint; a
    workdir that lacks the run, or is behind, takes it from there."""
    mode: Annotated[Mode, Role.VERB] = "train"
    """train (or resume), evaluate a run's checkpoint, sample from it, predict with it, or export
    it."""
    init_from: str | None = None
    """Start from the weights of another run, or from published ones (a folder or file): what fits
    by path and shape is taken. Without a run in the workdir, the other modes use them as they
    are."""
    init_checkpoint: Annotated[Literal["last", "best"], Role.HOW] = "best"
    """Which checkpoint of another run to start from; best: by validation, where it had one."""
    checkpoint: Annotated[Literal["last", "best"], Role.VERB] = "last"
    """Which checkpoint evaluate, sample, predict and export read."""
    count: Annotated[int, Role.VERB] = 64
    """Samples to draw (sample)."""
    input: Annotated[str | None, Role.VERB] = None
    """What to predict for, or to make anew: a folder or file (predict; sample, of a VAE)."""
    output: Annotated[str | None, Role.VERB] = None
    """What to write: samples as FILE.npz or as a folder of PNGs (sample); predictions as
    FILE.jsonl, a JSON object a line, or as FILE.csv (predict); the model as a folder (export)."""
    format: Annotated[Format, Role.VERB] = "safetensors"
    """Format of the model (export): safetensors, with a config.json, as transformers reads it."""
    naming: Annotated[str, Role.VERB] = ""
    """Whose names weights get (export as safetensors): transformers, torchvision or timm; empty:
    the first of these that has the model."""
    eval_every: Annotated[int, Role.HOW] = 250
    """Steps between evaluations."""
    eval_batch_size: Annotated[int, Role.BITS] = 500
    """Examples per batch of an evaluation; rounded up to a multiple of the devices."""
    patience: Annotated[int, Role.HOW] = 0
    """Stop after so many evaluations in which the monitored score of validation is no better than
    its best before; 0: only at --steps."""
    checkpoint_every: Annotated[int, Role.HOW] = 500
    """Steps between checkpoints."""
    keep: Annotated[int, Role.HOW] = 2
    """How many of the newest checkpoints are kept, beside the best one."""
    on_nonfinite: Annotated[Nonfinite, Role.BITS] = "stop"
    """When loss or state is not finite: stop, skip the update of that step, or roll back to the
    last checkpoint and leave out the batches since."""
    log_every: Annotated[int, Role.HOW] = 50
    """Steps between lines of training metrics, each their mean since the last line."""
    steps_per_dispatch: Annotated[int, Role.HOW] = 100
    """Most steps in one call of the compiled program; with fewer, SIGTERM is answered sooner."""
    profile: Annotated[int, Role.VERB] = 0
    """Trace so many steps, once the program is warm, into WORKDIR/profile, for Perfetto
    (ui.perfetto.dev) and XProf."""
    parallel: Annotated[Literal["jit", "pmap"], Role.BITS] = "jit"
    """How the step is spread over devices: jit over a mesh, or pmap; the results are the same."""
    mesh: Annotated[str, Role.BITS] = ""
    """Axes of devices, as data=4 or data=2,fsdp=2,model=2: data divides batches, fsdp batches and
    the state (ZeRO-3), model the products of transformers; empty: data over all devices."""
    shard: Annotated[tuple[str, ...], Role.BITS] = ()
    """Rules of how arrays are divided, which come before the model's own: PATTERN=AXES of a path
    of the state, an axis of the mesh or - for each axis, as 'embedding$=-,fsdp'."""
    coordinator: Annotated[str | None, Role.VERB] = None
    """HOST:PORT of the first of several processes, where no launcher (Slurm, Open MPI, Cloud TPU)
    says it."""
    processes: Annotated[int | None, Role.VERB] = None
    """How many processes train together; with others than these the run fails."""
    process_id: Annotated[int | None, Role.VERB] = None
    """Which of them this is, from 0; with --coordinator."""
    overwrite: Annotated[bool, Role.VERB] = False
    """Start anew in a workdir that holds another run."""
    accept_code_change: Annotated[bool, Role.VERB] = False
    """Go on with a run although the code that it runs was edited since it began."""
    debug: Annotated[bool, Role.VERB] = False
    """Rerun the steps after the last checkpoint and name the first layer that is not finite."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        at_least_one = ("steps", "batch_size", "count", "eval_every", "eval_batch_size")
        more = ("checkpoint_every", "keep", "log_every", "steps_per_dispatch", "repeat")
        for name in (*at_least_one, *more):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 1")
        if self.mirror is not None and not re.fullmatch(
            r"[A-Za-z0-9]+://[^/].*|file://.+", self.mirror
        ):
            raise InputError(
                f"mirror = {self.mirror}; expected the URL of a folder, as gs://BUCKET/FOLDER"
            )
        if self.profile < 0:
            raise InputError(f"profile = {self.profile}; expected steps, or 0 for no trace")
        if self.patience < 0:
            raise InputError(f"patience = {self.patience}; expected evaluations, or 0 for no end")
        require_known("mode", self.mode, get_args(Mode))
        require_known("format", self.format, get_args(Format))
        require_known("on_nonfinite", self.on_nonfinite, get_args(Nonfinite))
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed = {self.seed}; expected 0 <= seed < 2^32")
        if self.seed + self.repeat > 2**32:
            raise InputError(
                f"repeat = {self.repeat} with seed = {self.seed}; expected seeds below 2^32"
            )


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a step computes, for the config of a script whose objective heeds it."""

    precision: Precision = "float32"
    """Type of activations; parameters stay float32."""
    accumulate: int = 1
    """Compute a batch's gradient in this many parts, to save memory; BatchNorm sees each alone."""
    remat: Annotated[str, Role.BITS] = "none"
    """What the gradient computes again to save memory: none; block, all but the products with
    kernels and the convolutions; full, all of each block but its input. A network without blocks is
    one."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        require_known("precision", self.precision, get_args(Precision))
        require_known("remat", self.remat, REMATS)
        if self.accumulate < 1:
            raise InputError(f"accumulate = {self.accumulate}; expected at least 1")
