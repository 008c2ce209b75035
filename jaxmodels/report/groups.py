"""Runs that differ in their seed alone, as one result: mean, spread and interval."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence, Set
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jaxmodels.report.html import flatten, plain_number, setting
from jaxmodels.report.run import Run

# Flags whose differences do not matter.
NAMES_ONLY = {
    *("workdir", "overwrite", "accept_code_change", "input", "output", "count", "mode", "debug"),
    *("checkpoint", "preset", "repeat"),
}
_MOST_NAMED = 3  # fields in the name of a group, as long as fewer tell the groups apart
STATED = "mean ± standard deviation over seeds, with the 95% t-interval of the mean"


class Spread(NamedTuple):
    """Values of several seeds, summed up.

    mean: None without values, or where one of them is not finite.
    deviation: standard deviation of the sample; None of fewer than two values.
    half: half the width of the interval that has the mean of all seeds in 95 of 100 cases, by
      Student's t; None of fewer than two values.
    """

    count: int
    mean: float | None
    deviation: float | None = None
    half: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean."""
        if self.mean is None or self.half is None:
            return None
        return self.mean - self.half, self.mean + self.half


def spread_of(values: Sequence[float | None]) -> Spread:
    """Sums up the values of several seeds; None stands for one that is not finite."""
    finite = [value for value in values if value is not None]
    if not values or len(finite) < len(values):
        return Spread(len(values), None)
    mean = statistics.fmean(finite)
    if len(finite) < 2:
        return Spread(1, mean)
    deviation = statistics.stdev(finite)
    half = _quantile(len(finite) - 1) * deviation / math.sqrt(len(finite))
    return Spread(len(finite), mean, deviation, half)


@cache
def _quantile(freedom: int) -> float:
    """Computes the 97.5% quantile of Student's t."""
    from scipy.special import stdtrit  # slow, so only groups of several seeds import it

    return float(stdtrit(freedom, 0.975))


def in_words(spread: Spread) -> str:
    """Writes a mean as 0.9861 ± 0.0012, to the digits that its deviation leaves it."""
    if spread.mean is None:
        return "not finite" if spread.count else "none"
    if not spread.deviation:
        return plain_number(spread.mean) + (" ± 0" if spread.deviation == 0 else "")
    return f"{rounded(spread.mean, spread.deviation)} ± {plain_number(spread.deviation, 2)}"


def rounded(value: float, deviation: float) -> str:
    """Writes a value to two digits of its deviation, at least three digits and at most six."""
    digits = (
        2 + math.floor(math.log10(max(abs(value), deviation))) - math.floor(math.log10(deviation))
    )
    return plain_number(value, min(max(digits, 3), 6))


class Group(NamedTuple):
    """Runs that differ in their seed alone; a run of its own is a group of one."""

    name: str
    runs: list[Run]  # by seed

    @property
    def counted(self) -> list[Run]:
        """The runs whose last scores count: those that finished, or all where none has."""
        return [run for run in self.runs if run.status[1] == "good"] or self.runs

    def last(self, metric: str) -> Spread:
        """Sums up the last values of SPLIT/SCORE."""
        split, score = metric.split("/", 1)
        lines = [run.last(split) or {} for run in self.counted]
        return spread_of([line[score] for line in lines if score in line])

    def best(self, score: str) -> Spread:
        """Sums up a test score at the checkpoints that validation chose."""
        found = [run.best_scores for run in self.counted]
        return spread_of([scores[score] for scores in found if score in scores])

    def points(self, split: str, score: str) -> list[tuple[int, Spread]]:
        """Sums up a score at each step at which all of these runs that have it, have it."""
        courses = [dict(run.points(split, score)) for run in self.runs]
        courses = [course for course in courses if course]
        steps = set.intersection(*map(set, courses)) if courses else set()
        return [(step, spread_of([course[step] for course in courses])) for step in sorted(steps)]

    @property
    def seeds(self) -> str:
        """Names the seeds, as 0–4 or 1, 5."""
        seeds = [run.config.get("seed") for run in self.runs]
        whole = [seed for seed in seeds if isinstance(seed, int)]
        if len(whole) > 2 and whole == list(range(whole[0], whole[0] + len(seeds))):
            return f"{whole[0]}–{whole[-1]}"
        return ", ".join(map(str, seeds))


def grouped(runs: list[Run]) -> list[Group]:
    """Puts runs that differ in their seed alone together, in the order in which they were given.

    A group is named by what differs between the groups, as "learning_rate 0.01"; where nothing
    recorded does, by its folders. Runs of one seed that are the same otherwise are no sample of
    seeds, so each stands alone.
    """
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        by_settings.setdefault(repr(sorted(_identity(run).items(), key=str)), []).append(run)
    groups: list[list[Run]] = []
    for members in by_settings.values():
        seeds = [run.config.get("seed") for run in members]
        if max(Counter(map(repr, seeds)).values()) > 1 or None in seeds:
            groups += [[run] for run in members]
        else:
            groups.append(sorted(members, key=lambda run: run.config["seed"]))
    order = {run.path: index for index, run in enumerate(runs)}
    groups.sort(key=lambda members: min(order[run.path] for run in members))
    return [Group(name, members) for name, members in zip(_names(groups), groups)]


def settings_of(run: Run) -> dict[str, object]:
    """Returns the flags by which runs of different results differ, but for the seed."""
    identity = run.record.get("identity")
    if isinstance(identity, dict) and identity:
        # An identity lacks what other records identify: the data of a path, steps that may grow.
        known = {name: run.config[name] for name in ("data", "steps") if name in run.config}
        settings = known | identity
    else:
        settings = {n: value for n, value in run.config.items() if n not in NAMES_ONLY}
    return {name: value for name, value in settings.items() if name != "seed"}


def _identity(run: Run) -> dict[str, object]:
    """Returns all that makes a result another one, but for the seed."""
    facts = {f"data.{name}": value for name, value in flatten(run.facts).items()}
    return {
        "experiment": run.record["experiment"],
        **facts,
        "source": run.record.get("source"),
        **settings_of(run),
    }


def _names(groups: list[list[Run]]) -> list[str]:
    """Names groups by what differs between them, or by their folders."""
    settings = [
        {"experiment": members[0].record["experiment"]} | settings_of(members[0])
        for members in groups
    ]
    named = names_by_difference(settings)
    return named or short_names([_place(members) for members in groups])


def _place(members: list[Run]) -> Path:
    """Returns the folder of a group: the one of its run, or what its runs lie in."""
    path = members[0].path.resolve()
    shared = len(members) > 1 and all(run.path.resolve().parent == path.parent for run in members)
    return path.parent if shared else path


def names_by_difference(settings: list[dict[str, object]]) -> list[str] | None:
    """Names each by the fields that differ; None where these do not tell all apart."""
    fields = differing(settings)
    # What was chosen first explains other differences: a model's options differ with it.
    fields.sort(key=lambda field: field not in ("experiment", "data", "model"))
    if len(fields) > _MOST_NAMED:
        fields = _fewest(fields, settings)
    names = [
        ", ".join(f"{field} {_value(each[field])}" for field in fields if field in each)
        for each in settings
    ]
    return names if len(set(names)) == len(names) and all(names) else None


def _fewest(fields: list[str], settings: list[dict[str, object]]) -> list[str]:
    """Keeps the fields each of which tells more apart than those before."""
    kept: list[str] = []
    for field in fields:
        if _count(settings, [*kept, field]) > _count(settings, kept):
            kept.append(field)
    return kept


def _count(settings: list[dict[str, object]], fields: list[str]) -> int:
    """Counts the different values of some fields together."""
    return len({repr([each.get(field) for field in fields]) for each in settings})


def _value(value: object) -> str:
    """Writes the value of a field without markup."""
    if value is None:
        return "none"
    return "empty" if value in ("", [], {}) else str(setting(value))


def differing(values: list[dict], without: Set[str] = frozenset()) -> list[str]:
    """Names the fields whose values are not the same everywhere."""
    known = dict.fromkeys(name for each in values for name in each if name not in without)
    missing = object()
    return [
        name
        for name in known
        if any(each.get(name, missing) != values[0].get(name, missing) for each in values)
    ]


def short_names(paths: list[Path]) -> list[str]:
    """Shortens paths to ends that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts) and length < max(map(len, parts)):
        length += 1
    names = ["/".join(part[-length:]) for part in parts]
    if len(set(names)) < len(names):
        return [f"{name} ({index + 1})" for index, name in enumerate(names)]
    return names
