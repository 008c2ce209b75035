"""The examples of one step and their losses: python -m jaxmodels.replay RUN --step N.

It finds what made a spike. Step N is the one that makes state N + 1 of state N; a line of
metrics.jsonl at step S is the mean of the steps before S, since the line before.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxmodels.commands import GOOD, exit_code_of
from jaxmodels.errors import InputError
from jaxmodels.files import write_text

if TYPE_CHECKING:
    from jaxmodels.train.replay import Replayed


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show the examples of the batch of one step, with the loss and gradient norm of each in that
    step, largest loss first. The state is that of the newest checkpoint before, stepped forward."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    step: int
    """The step, from 0 on: it makes state N + 1 of state N."""
    top: int = 20
    """How many examples are shown."""
    output: Path | None = None
    """FILE.jsonl for all of them, an object a line."""
    module: str | None = None
    """Module or file of the run's script; None: experiments.NAME."""
    data: str | None = None
    """Replaces --data where a folder has moved."""
    data_dir: str | None = None
    """Replaces --data-dir where it has moved."""


def _replay(given: Arguments) -> int:
    if given.top < 1:
        raise InputError(f"top = {given.top}; expected at least 1")
    if given.output and given.output.suffix != ".jsonl":
        raise InputError(f"output = {given.output}; expected a file to write, FILE.jsonl")
    from jaxmodels.train.recorded import open_run
    from jaxmodels.train.replay import replay

    run = open_run(given.run, given.module, given.data, given.data_dir)
    for note in run.notes:
        print(f"note: {note} since the run began; the numbers may differ", file=sys.stderr)
    found = replay(run, given.step)
    for line in _summary(given.run, found):
        print(line)
    for line in _table(found.examples[: given.top]):
        print(line)
    if given.output:
        lines = [json.dumps(_finite(example)) + "\n" for example in found.examples]
        write_text(given.output, "".join(lines))
        print(f"output={given.output}")
    return GOOD


def _summary(path: Path, found: "Replayed") -> Iterator[str]:
    origin = f"checkpoint {found.start}" if found.start else "the beginning"
    states = "recorded states on the way: none"
    if found.states:
        states = f"recorded states on the way: {found.states}, all the same"
    if found.differ:
        states = f"the state of step {found.differ[0]} is NOT that of the run"
    yield f"step {found.step} of {path}, from {origin}; {states}"
    scores = " ".join(f"{name}={value:.5g}" for name, value in found.scores.items())
    if found.gradient_norm is None:
        yield f"batch of {len(found.examples)}: {scores}"
        yield (
            "no loss belongs to an example alone: this objective has no function `losses`, as where"
            " losses are of pairs (a GAN)"
        )
    else:
        norm = f"gradient_norm={found.gradient_norm:.5g}"
        yield f"batch of {len(found.examples)}: {scores} {norm}"


def _table(examples: list[dict[str, Any]]) -> Iterator[str]:
    """Writes examples as lines of aligned columns, the name last."""
    first = [name for name in ("loss", "gradient_norm") if name in examples[0]]
    others = [name for name in examples[0] if name not in (*first, "row", "name")]
    columns = [*first, *others, "row"]
    # A name that only repeats the row says nothing.
    if any(example["name"] != str(example["row"]) for example in examples):
        columns.append("name")
    rows = [columns, *([_shown(example[name]) for name in columns] for example in examples)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        yield "  ".join([*cells[:-1], row[-1] if columns[-1] == "name" else cells[-1]])


def _shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _finite(example: dict[str, Any]) -> dict[str, Any]:
    """Writes a number that is not finite as null, as JSON has none."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in example.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays a step; returns the exit code."""
    given = tyro.cli(Arguments, prog="python -m jaxmodels.replay", args=arguments)
    return exit_code_of(lambda: _replay(given))


if __name__ == "__main__":
    sys.exit(main())
