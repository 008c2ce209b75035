"""A run as its folder tells it. Only files are read: neither jax nor the experiment is needed."""

import json
import math
import statistics
from pathlib import Path
from typing import NamedTuple

from jaxmodels.errors import InputError
from jaxmodels.report.scores import lower_is_better


class Run(NamedTuple):
    """What a run folder holds; where a file is missing or damaged, less."""

    path: Path
    record: dict  # config.json
    lines: list[dict]  # metrics.jsonl: {"step", "split", score: number, or None if not finite}
    speed: list[dict]  # speed.jsonl
    evaluation: dict[str, dict]  # evaluation.json
    pictures: list[Path]  # samples/*.png

    @property
    def config(self) -> dict:
        """All flags."""
        return self.record["config"]

    @property
    def facts(self) -> dict:
        """What was recorded of the data."""
        facts = self.record.get("facts")
        return facts if isinstance(facts, dict) else {}

    @property
    def environment(self) -> dict:
        """Versions, source and machine; empty if none were recorded."""
        known = self.record.get("environment")
        return known | {"source": self.record.get("source")} if isinstance(known, dict) else {}

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have lines: train, validation, test, then any others."""
        found = list(dict.fromkeys(line["split"] for line in self.lines))
        order = {"train": 0, "validation": 1, "test": 2}
        return sorted(found, key=lambda split: order.get(split, 3))

    def scores(self, split: str) -> list[str]:
        """Names of a split's scores, in the order of the file."""
        lines = [line for line in self.lines if line["split"] == split]
        return list(dict.fromkeys(n for line in lines for n in line if n not in ("step", "split")))

    def points(self, split: str, score: str) -> list[tuple[int, float | None]]:
        """(step, value) of one score, a value that is not finite being None."""
        lines = (line for line in self.lines if line["split"] == split and score in line)
        return [(line["step"], line[score]) for line in lines]

    def last(self, split: str) -> dict | None:
        """The last line of a split."""
        return next((line for line in reversed(self.lines) if line["split"] == split), None)

    @property
    def step(self) -> int:
        """The step that the lines have come to."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def judged(self) -> str | None:
        """The split that final scores are of: test, without one validation, without any None."""
        return next((split for split in ("test", "validation") if split in self.splits), None)

    @property
    def monitor(self) -> tuple[str, bool] | None:
        """The score that matters most and whether lower is better: the recorded one, which chose
        the best checkpoint, or of a run that recorded none the first of its evaluations."""
        recorded = self.record.get("monitor")
        known = self.scores(self.judged) if self.judged else []
        if isinstance(recorded, list) and len(recorded) == 2 and recorded[0] in known:
            return recorded[0], recorded[1] == "min"
        return (known[0], lower_is_better(known[0])) if known else None

    def best_validation(self) -> dict | None:
        """The line of validation whose monitored score is best; of equal ones the last."""
        if not self.monitor:
            return None
        name, lower = self.monitor
        lines = [line for line in self.lines if line["split"] == "validation"]
        lines = [line for line in lines if line.get(name) is not None]
        sign = -1 if lower else 1
        return max(lines, key=lambda line: (sign * line[name], line["step"]), default=None)

    @property
    def seconds(self) -> float | None:
        """Seconds of training over all calls of the run; each call counts from zero."""
        total, before = 0.0, 0.0
        for line in self.speed:
            if line["seconds"] < before:
                total += before
            before = line["seconds"]
        return total + before if self.speed else None

    @property
    def steps_per_second(self) -> float | None:
        """The median rate."""
        rates = [line["steps_per_second"] for line in self.speed]
        return statistics.median(rates) if rates else None

    @property
    def status(self) -> tuple[str, str]:
        """A word for what became of the run, and its kind: good, plain or bad."""
        last = self.last("train") or {}
        if None in last.values():
            return f"not finite at step {last['step']:,}", "bad"
        steps = self.config.get("steps")
        if not isinstance(steps, int) or self.step >= steps:
            return "finished", "good"
        return f"at step {self.step:,} of {steps:,}", "plain"


def read_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
      InputError: it holds none.
    """
    path = Path(path)
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise InputError(f"run {path} {kind}; expected a run folder, as runs/EXPERIMENT/NAME")
    record = _read_json(path / "config.json")
    if not isinstance(record.get("config"), dict) or "experiment" not in record:
        raise InputError(
            f"run {path} is no run folder (its config.json is missing or no run's);"
            " name the folder that a run wrote, as runs/EXPERIMENT/NAME"
        )
    lines = [
        {"step": line["step"], "split": str(line["split"])}
        | {n: v for n, v in _numbers(line).items() if n not in ("step", "split")}
        for line in _read_lines(path / "metrics.jsonl")
        if _is_step(line.get("step")) and "split" in line
    ]
    needed = {"step", "seconds", "steps_per_second"}
    speed = [
        numbers
        for numbers in map(_numbers, _read_lines(path / "speed.jsonl"))
        if numbers.keys() >= needed and all(numbers[name] is not None for name in needed)
    ]
    evaluation = _read_json(path / "evaluation.json")
    evaluation = {name: value for name, value in evaluation.items() if isinstance(value, dict)}
    return Run(path, record, lines, speed, evaluation, sorted(path.glob("samples/*.png")))


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; a line that a kill cut short is left out."""
    lines = []
    try:
        texts = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _numbers(line: dict) -> dict[str, float | None]:
    """The entries that are numbers, or null for one that was not finite."""
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in line.items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    }
