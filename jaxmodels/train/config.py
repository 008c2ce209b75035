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
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_type_hints

import tyro

from jaxmodels.errors import InputError, closest
from jaxmodels.pretrained.weights import Weights
from jaxmodels.roles import Role
from jaxmodels.train.fitting import fit
from jaxmodels.train.run_config import RunConfig

T = TypeVar("T")
C = TypeVar("C", bound="Config")
Section = tyro.conf.OmitArgPrefixes  # Section[RunConfig]: its fields are flags of their own names
ModelSection = Annotated[T, tyro.conf.arg(name="")]  # the same for a choice among models


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
        if reason := self.refused_modes().get(self.run.mode):
            raise InputError(f"mode = {self.run.mode}; {reason}")
        for section in sections_of(self):
            if hasattr(section, "validate"):
                section.validate()

    def refused_modes(self) -> Mapping[str, str]:
        """Returns the values of --mode that do not go with the other flags, each with the reason
        and what to do instead. An experiment that has such flags replaces this."""
        return {}

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
    def remat(self) -> str:
        """What gradients compute again: the flag, where there is one."""
        flags = flags_of(self)
        return flags["remat"].value if "remat" in flags else "none"

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


@cache
def _hints_of(section: type) -> dict[str, Any]:
    return get_type_hints(section, include_extras=True)


def _walk(section: Any, path: tuple[str, ...]) -> Iterator[Flag]:
    hints = _hints_of(type(section))
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
            hint = _hints_of(type(options))[option]
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
    # The model decides which options are flags.
    for names in (["model"], [name for name in values if name != "model"]):
        known = flags_of(config)
        for name in names:
            if name in values and name in known:
                value = fit(name, values[name], known[name].kind)
                config = _replaced(config, known[name].path, value)
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
