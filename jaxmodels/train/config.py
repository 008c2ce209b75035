"""Configs: frozen dataclasses composed of sections, whose fields are the flags of an experiment.

A section of a config is a dataclass; its fields keep their own names on the command line
(`--learning-rate`, not `--optimizer.learning-rate`). A section with a field `model` also has a
dataclass of options for each architecture, in a field named after it. The options of the chosen
one are flags too (`--vit.patch 8`, or `--patch 8` beside `--model vit`); the others have no effect
and are not recorded.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import tyro

from jaxmodels.errors import InputError, closest, require_known
from jaxmodels.pretrained.weights import Weights
from jaxmodels.roles import Role
from jaxmodels.train.fitting import fit

T = TypeVar("T")
C = TypeVar("C", bound="Config")
Section = tyro.conf.OmitArgPrefixes  # Section[RunConfig]: its fields are flags of their own names
ModelSection = Annotated[T, tyro.conf.arg(name="")]  # the same for a choice among models


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

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        require_known("precision", self.precision, get_args(Precision))
        if self.accumulate < 1:
            raise InputError(f"accumulate = {self.accumulate}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of every experiment's config. A subclass adds its sections and flags."""

    experiment: ClassVar[str] = "experiment"

    run: Section[RunConfig] = RunConfig()

    def validate(self) -> None:
        """Validates all sections, which raise InputError; experiments extend it."""
        for flag in flags_of(self).values():
            fit(flag.name, flag.value, flag.kind)
            is_url = isinstance(flag.value, str) and re.match(r"[A-Za-z0-9]+://", flag.value)
            if is_url and flag.name != "mirror":
                raise InputError(
                    f"{flag.name} = {flag.value}; expected a path of this machine: copy or mount"
                    " what lies elsewhere"
                )
        size, flags = self.run.batch_size, flags_of(self)
        parts = flags["accumulate"].value if "accumulate" in flags else 1
        if parts > 0 and size % parts:
            raise InputError(f"accumulate = {parts}; expected a divisor of batch_size = {size}")
        for section in sections_of(self):
            if hasattr(section, "validate"):
                section.validate()

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> Mapping[str, Any]:
        """Returns the flags that published weights imply. An experiment whose models have published
        weights replaces this.

        Raises:
          InputError: they are of no model of the experiment.
        """
        raise InputError(
            f"init_from = {weights.path}; {cls.experiment} starts from runs of its own only:"
            " expected a run folder"
        )

    def agrees(self, name: str, given: Any, implied: Any) -> bool:
        """Says whether the value of a flag goes with the one that published weights imply."""
        return given == implied

    @property
    def several(self) -> dict[str, dict[str, Any]]:
        """The flags of each run that this config stands for, by the names of their folders below
        WORKDIR; empty where it is one run."""
        run = self.run
        seeds = range(run.seed, run.seed + run.repeat)
        return {f"seed-{seed}": {"seed": seed} for seed in seeds} if run.repeat > 1 else {}

    @classmethod
    def flags_of_weights_alone(cls, weights: Weights) -> Mapping[str, Any]:
        """Returns defaults for published weights that are used as they are, without a run: other
        values may be given. An experiment that needs no data of its own then replaces this."""
        return {}

    @property
    def batches_per_step(self) -> int:
        """How many batches a step takes, joined into one of batches_per_step * batch_size."""
        return 1

    @property
    def schedule_ends(self) -> bool:
        """Whether a schedule ends at `steps`, so that a run cannot be extended."""
        return any(getattr(section, "schedule_ends", False) for section in sections_of(self))

    def same_until(self, steps: int) -> int:
        """Returns the step up to which a run of another length has the same schedules."""
        ends = (
            section.same_until(self.run.steps, steps)
            for section in sections_of(self)
            if hasattr(section, "same_until")
        )
        return min(ends, default=min(self.run.steps, steps))


class Preset(NamedTuple):
    """A named set of flags, with its source, expected result and cost."""

    flags: dict[str, Any]
    source: str  # who proposed it: paper, section, or code
    expected: str  # the result that it should reach; what is not yet measured says so
    cost: str  # time on which machine
    command: str = ""  # what has to be added to --preset NAME, as "--data-dir DIR"


class Flag(NamedTuple):
    """One field of a config, wherever it stands."""

    name: str
    path: tuple[str, ...]  # names of fields, from the config's down to its own
    kind: Any  # its type
    role: Role | None
    value: Any


def flags_of(config: Config) -> dict[str, Flag]:
    """Returns all flags of a config by name; of the models' options, those of the chosen model."""
    return {flag.name: flag for flag in _walk(config, ())}


def _walk(section: Any, path: tuple[str, ...]) -> Iterator[Flag]:
    hints = get_type_hints(type(section), include_extras=True)
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if not dataclasses.is_dataclass(value):
            marks = getattr(hints[field.name], "__metadata__", ())
            role = next((mark for mark in marks if isinstance(mark, Role)), None)
            yield Flag(field.name, (*path, field.name), hints[field.name], role, value)
        elif not is_option(section, field.name) or field.name == section.model:
            yield from _walk(value, (*path, field.name))


def is_option(section: Any, name: str) -> bool:
    """Whether a field of a section holds the options of one of several models."""
    # In a config, `model` may be a section; only where models are chosen is it a string.
    chooses = isinstance(getattr(section, "model", None), str)
    return chooses and dataclasses.is_dataclass(getattr(section, name))


def sections_of(config: Any) -> Iterator[Any]:
    """Yields the sections of a config, outer before inner, without options of other models."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        chosen = not is_option(config, field.name) or field.name == config.model
        if dataclasses.is_dataclass(value) and chosen:
            yield value
            yield from sections_of(value)


def configure(config: C, **flags: Any) -> C:
    """Returns the config with these flags, in whichever section each stands, fitted to the types
    of their fields (see `fit`).

    An option of a model that is not chosen is given with the model's name: **{"vit.patch": 8}.

    Raises:
      InputError: no such flag, or a value of another type.
    """
    # The model comes first, because it decides which options are flags.
    for name in sorted(flags, key=lambda name: name != "model"):
        config = _with_flag(config, name, flags[name])
    return config


def _with_flag(config: C, name: str, value: Any) -> C:
    known = flags_of(config)
    if name in known:
        return _replaced(config, known[name].path, fit(name, value, known[name].kind))
    for path, options in _all_options(config, ()):
        model, _, option = name.partition(".")
        if model == path[-1] and option in {field.name for field in dataclasses.fields(options)}:
            hint = get_type_hints(type(options), include_extras=True)[option]
            return _replaced(config, (*path, option), fit(name, value, hint))
    raise InputError(f"unknown flag '{name}'{closest(name, known)}")


def _all_options(section: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields path and options of every model, chosen or not."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            if is_option(section, field.name):
                yield (*path, field.name), value
            yield from _all_options(value, (*path, field.name))


def models_with(config: Config, option: str) -> dict[str, Any]:
    """Returns the models that have an option of this name, with its value in each."""
    return {
        path[-1]: getattr(options, option)
        for path, options in _all_options(config, ())
        if option in {field.name for field in dataclasses.fields(options)}
    }


def _replaced(section: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    if rest:
        value = _replaced(getattr(section, name), tuple(rest), value)
    return dataclasses.replace(section, **{name: value})


def require_range(
    config: object, names: tuple[str, ...], low: float = 0.0, high: float = math.inf
) -> None:
    """Raises InputError unless low <= config.name < high, and finite, for each name."""
    for name in names:
        value = getattr(config, name)
        if not (low <= value < high):
            limit = "a finite number" if high == math.inf else f"below {high:g}"
            raise InputError(f"{name} = {value}; expected {limit}, at least {low:g}")


def to_json(config: Config) -> dict[str, Any]:
    """Returns all flags by name, as JSON values."""
    values = {name: flag.value for name, flag in flags_of(config).items()}
    return json.loads(json.dumps(values))


def from_json(config_class: type[Config], values: dict[str, Any]) -> Config:
    """Inverts `to_json`. Flags that `values` lacks have their default; values that are no flags any
    more are ignored.

    Raises:
      InputError: a value of another type.
    """
    config = config_class()
    for name in sorted(values, key=lambda name: name != "model"):
        if name in flags_of(config):
            config = _with_flag(config, name, values[name])
    return config


def from_record(config_class: type[Config], record: dict[str, Any]) -> Config:
    """Reads the config of a run's record, of any format.

    Raises:
      InputError: a value of another type.
    """
    values = record["config"]
    if fit("format", record.get("format", 1), int) < 2:
        # In format 1 an empty value stood for the architecture's default.
        own = {"variant", "hidden", "activation", "norm", "patch"}
        values = {n: v for n, v in values.items() if n not in own or v not in ("", [], 0)}
    try:
        return from_json(config_class, values)
    except InputError as error:
        raise InputError(f"the run's record has {error}") from None
