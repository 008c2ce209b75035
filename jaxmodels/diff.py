"""What differs between two runs, and from which step on: python -m jaxmodels.diff A B.

It reads the files of the runs alone, so it needs neither their code nor their data. Exit code 0:
nothing differs. 1: something does. 2: bad input.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from jaxmodels.commands import BAD, GOOD, exit_code_of
from jaxmodels.errors import InputError
from jaxmodels.files import read_lines
from jaxmodels.run_record import read_facts, read_record, states_of

# Flags that say where a run lies or what is done with it, so that they are no difference.
_OF_NO_RUN = {
    *("preset", "workdir", "mode", "checkpoint", "count", "input", "output"),
    *("overwrite", "accept_code_change", "debug"),
}
_MOST_NAMES = 4  # of arrays in a line
_WIDEST = 48  # of a value in a table
_MISSING = object()


@dataclass(frozen=True)
class Arguments:
    """Show what differs between two runs: flags, code, environment, data, states, metrics and
    arrays of checkpoints. Exit code 0: nothing; 1: something; 2: bad input."""

    first: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Folder of a run."""
    second: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Folder of another run."""


class Files(NamedTuple):
    """What is compared of two runs, read from the files of one."""

    record: dict[str, Any]
    states: dict[int, str]  # by step, the checksum of the state; where there are several the last
    lines: dict[tuple[int, str], dict[str, Any]]  # of metrics.jsonl, by step and split
    checkpoints: dict[int, dict[str, Any]]  # by step, type and checksum of each array

    @property
    def reached(self) -> int:
        """The last step of which there is a line or a checkpoint."""
        return max([0, *(step for step, _ in self.lines), *self.checkpoints])


def read_files(folder: Path) -> Files:
    """Reads the files of a run.

    Raises:
      InputError: the folder holds no run, or a record or checkpoint that is damaged.
    """
    checkpoints, arrays = folder / "checkpoints", {}
    record = read_record(folder / "config.json", checkpoints / "config.json")
    for path in checkpoints.iterdir() if checkpoints.is_dir() else ():
        if path.name.isdigit():
            try:
                facts = read_facts(path)
            except InputError as error:
                raise InputError(f"checkpoint {path} is damaged: {error}") from None
            if facts:
                arrays[int(path.name)] = facts["arrays"]
    lines = read_lines(folder / "metrics.jsonl")
    return Files(
        record,
        states_of(read_lines(folder / "speed.jsonl")),
        {
            (line["step"], line["split"]): line
            for line in lines
            if isinstance(line.get("step"), int) and isinstance(line.get("split"), str)
        },
        arrays,
    )


def given_differently(first: Files, second: Files) -> Iterator[str]:
    """Yields the lines of tables on all that the runs were given and that differs."""
    for title, values in _tables(first, second).items():
        yield from _table(title, *values)


def results_that_differ(first: Files, second: Files) -> Iterator[str]:
    """Yields lines on the states, metrics and checkpoints that differ."""
    yield from _states(first.states, second.states)
    yield from _metrics(first.lines, second.lines)
    yield from _arrays(first.checkpoints, second.checkpoints)


def _tables(*runs: Files) -> dict[str, tuple[dict[str, Any], ...]]:
    """Makes the values that may differ, of both runs, by the title of their table."""
    records = [run.record for run in runs]
    environments = [_flat(record["environment"]) for record in records]
    # What an older record does not know is no difference.
    known = (environments[0].keys() & environments[1].keys()) - {"git_commit"}
    return {
        "flags that make another run": tuple(record["identity"] for record in records),
        "other flags": tuple(
            {
                name: value
                for name, value in record["config"].items()
                if name not in record["identity"] and name not in _OF_NO_RUN
            }
            for record in records
        ),
        "code": tuple(
            {
                "experiment": record["experiment"],
                "source": record["source"],
                "git_commit": record["environment"].get("git_commit"),
            }
            for record in records
        ),
        "environment": tuple(
            {name: value for name, value in values.items() if name in known}
            for values in environments
        ),
        "data": tuple(_flat(record["facts"]) for record in records),
        "progress": tuple({"last step": run.reached} for run in runs),
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Names the values of nested mappings by their paths, as "packages.jax"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _table(title: str, first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    rows = [
        (name, _shown(first.get(name, _MISSING)), _shown(second.get(name, _MISSING)))
        for name in dict.fromkeys([*first, *second])
        if first.get(name, _MISSING) != second.get(name, _MISSING)
    ]
    if not rows:
        return
    rows = [(f"{title}:", "A", "B"), *((f"  {name}", a, b) for name, a, b in rows)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, a, b in rows:
        yield f"{name:<{widths[0]}}  {a:<{widths[1]}}  {b}"


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "-"
    text = str(value) or "''"
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _states(first: dict[int, str], second: dict[int, str]) -> Iterator[str]:
    common = sorted(first.keys() & second.keys())
    differ = [step for step in common if first[step] != second[step]]
    if not differ:
        return
    same = [step for step in common if step < differ[0]]
    before = f"the same up to step {same[-1]}, " if same else ""
    yield (
        f"states: {before}first differ at step {differ[0]} ({first[differ[0]]} and"
        f" {second[differ[0]]}); {len(differ)} of {len(common)} common log lines differ"
    )


def _metrics(
    first: Mapping[tuple[int, str], dict[str, Any]],
    second: Mapping[tuple[int, str], dict[str, Any]],
) -> Iterator[str]:
    common = sorted(first.keys() & second.keys())
    differ = [place for place in common if first[place] != second[place]]
    if differ:
        step, split = place = differ[0]
        a, b = first[place], second[place]
        names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
        shown = ", ".join(f"{name} {a.get(name)} and {b.get(name)}" for name in names[:_MOST_NAMES])
        yield (
            f"metrics: {len(differ)} of {len(common)} common lines differ, first that of {split}"
            f" at step {step}: {shown}{_more(names)}"
        )
    for run, only in (("A", first.keys() - second.keys()), ("B", second.keys() - first.keys())):
        if only:
            yield f"metrics: {len(only)} lines in {run} alone, first at step {min(only)[0]}"


def _arrays(
    first: Mapping[int, dict[str, Any]], second: Mapping[int, dict[str, Any]]
) -> Iterator[str]:
    for step in sorted(first.keys() & second.keys()):
        a, b = first[step], second[step]
        names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
        if names:
            shown = ", ".join(names[:_MOST_NAMES])
            total = len(a.keys() | b.keys())
            yield f"checkpoint {step}: {len(names)} of {total} arrays differ: {shown}{_more(names)}"


def _more(names: Sequence[str]) -> str:
    return f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""


def _extent(first: Files, second: Files) -> str:
    """Says how many results both runs have."""
    states = len(first.states.keys() & second.states.keys())
    lines = len(first.lines.keys() & second.lines.keys())
    checkpoints = len(first.checkpoints.keys() & second.checkpoints.keys())
    return f"{states} states, {lines} lines of metrics, {checkpoints} checkpoints"


def _compare(given: Arguments) -> int:
    first, second = read_files(given.first), read_files(given.second)
    for name, path, run in (("A", given.first, first), ("B", given.second, second)):
        print(f"{name}: {path}" + ("" if run.states else " (which recorded no states)"))
    tables = list(given_differently(first, second))
    results = list(results_that_differ(first, second))
    same = [] if results else [f"no result differs: {_extent(first, second)}"]
    for line in [*tables, *results, *same]:
        print(line)
    return BAD if tables or results else GOOD


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two runs; returns the exit code."""
    given = tyro.cli(Arguments, prog="python -m jaxmodels.diff", args=arguments)
    return exit_code_of(lambda: _compare(given))


if __name__ == "__main__":
    sys.exit(main())
