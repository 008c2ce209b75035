"""A run, read from the files of its folder."""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

from jaxmodels.errors import InputError
from jaxmodels.files import read_json, read_lines
from jaxmodels.report.scores import UNDECLARED, Score, declared_scores
from jaxmodels.run_record import (
    BEST_TEST,
    is_number,
    is_shallow,
    is_step,
    read_what_is_good,
    reason_to_end,
)

SPLITS = ("train", "validation", "test")  # in the order in which they are shown
BEST = "best"  # names a record in evaluation.json that belongs to no split


class Run(NamedTuple):
    """What a run folder holds, without what is missing or damaged."""

    path: Path
    record: dict  # config.json
    lines: list[dict]  # metrics.jsonl: {"step", "split", score: number, or None if not finite}
    speed: list[dict]  # speed.jsonl
    evaluation: dict[str, dict]  # evaluation.json: the record of each split
    best: dict  # evaluation.json: the record of the best checkpoint; empty where there is none
    best_test: dict  # evaluation.json: the test scores of the best checkpoint; or empty
    samples: list[Path]  # the files in samples/

    @property
    def config(self) -> dict:
        """The values of all flags."""
        return self.record["config"]

    @property
    def data_folder(self) -> Path | None:
        """The folder that --data named; None where it is none on this machine."""
        begun, data = self.record.get("directory"), self.config.get("data")
        if not isinstance(begun, str) or not isinstance(data, str) or "/" not in data:
            return None
        folder = Path(begun) / Path(data).expanduser()
        return folder if folder.is_dir() else None

    @property
    def facts(self) -> dict:
        """The recorded facts of the data; empty if there are none."""
        facts = self.record.get("facts")
        return facts if isinstance(facts, dict) else {}

    @property
    def environment(self) -> dict:
        """The versions, the source and the machine; empty if none were recorded."""
        known = self.record.get("environment")
        return known | {"source": self.record.get("source")} if isinstance(known, dict) else {}

    @property
    def splits(self) -> list[str]:
        """The names of the splits that have lines: train, validation, test, then any others."""
        names = dict.fromkeys(line["split"] for line in self.lines)
        order = {split: index for index, split in enumerate(SPLITS)}
        return sorted(names, key=lambda split: order.get(split, len(order)))

    def scores(self, split: str) -> list[str]:
        """Names a split's scores in the order of the file."""
        lines = [line for line in self.lines if line["split"] == split]
        return list(dict.fromkeys(n for line in lines for n in line if n not in ("step", "split")))

    def points(self, split: str, score: str) -> list[tuple[int, float | None]]:
        """Lists (step, value) of one score; a value that was not finite is None."""
        lines = (line for line in self.lines if line["split"] == split and score in line)
        return [(line["step"], line[score]) for line in lines]

    def last(self, split: str) -> dict | None:
        """Finds the last line of a split."""
        return next((line for line in reversed(self.lines) if line["split"] == split), None)

    @property
    def step(self) -> int:
        """The largest step that has a line."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def judged(self) -> str | None:
        """The split that final scores belong to: test, else validation, else None."""
        return next((split for split in ("test", "validation") if split in self.splits), None)

    def declared(self, score: str) -> Score:
        """Looks up what the run recorded of a score."""
        return declared_scores(self.record).get(score, UNDECLARED)

    @property
    def monitor(self) -> str | None:
        """The score that chose the best checkpoint, else the first score of the evaluations."""
        recorded = self.record.get("monitor")
        known = self.scores(self.judged) if self.judged else []
        if isinstance(recorded, list) and len(recorded) == 2 and recorded[0] in known:
            return recorded[0]
        return known[0] if known else None

    def best_validation(self) -> dict | None:
        """Finds the line of validation whose monitored score is best; of equal ones the last.

        None where it is not known which values are better.
        """
        name = self.monitor
        better = self.declared(name).better if name else None
        if name is None or better is None:
            return None
        sign = {"lower": -1, "higher": 1}[better]
        lines = [line for line in self.lines if line["split"] == "validation"]
        lines = [line for line in lines if line.get(name) is not None]
        return max(lines, key=lambda line: (sign * line[name], line["step"]), default=None)

    @property
    def best_scores(self) -> dict[str, float | None]:
        """The scores of test at the checkpoint that validation chose; empty where there are none of
        the end that the run has reached."""
        scores = self.best_test.get("scores")
        if self.best_test.get("last_step") != self.step or not isinstance(scores, dict):
            return {}
        return _numbers(scores)

    @property
    def best_step(self) -> int | None:
        """The step of the checkpoint that `best_scores` are of."""
        step = self.best_test.get("step")
        return step if is_step(step) else None

    @property
    def _ended(self) -> bool:
        """Whether the run ended before its last step for want of patience."""
        patience, monitor = self.config.get("patience"), self.record.get("monitor")
        if not isinstance(patience, int) or not isinstance(monitor, list) or len(monitor) != 2:
            return False
        if monitor[1] not in ("min", "max"):
            return False
        splits = {"validation", self.judged or "validation"}
        return reason_to_end(self.lines, self.step, monitor, patience, splits) is not None

    @property
    def seconds(self) -> float | None:
        """The seconds of training over all calls of the run; the file counts each from zero."""
        total, before = 0.0, 0.0
        for line in self.speed:
            if line["seconds"] < before:
                total += before
            before = line["seconds"]
        return total + before if self.speed else None

    @property
    def steps_per_second(self) -> float | None:
        """The median rate of the lines of speed.jsonl."""
        rates = [line["steps_per_second"] for line in self.speed]
        return statistics.median(rates) if rates else None

    @property
    def examples_per_second(self) -> float | None:
        """The median rate in examples."""
        # All steps have the same number of examples, so the last line that has it suffices.
        for line in reversed(self.speed):
            examples, steps = line.get("examples_per_second"), line["steps_per_second"]
            if examples is not None and steps > 0 and math.isfinite(examples / steps):
                return self.steps_per_second * round(examples / steps)
        return None

    @property
    def status(self) -> tuple[str, str]:
        """The state of the run in words, and its kind: good, plain or bad."""
        last = self.last("train") or {}
        if None in last.values():
            return f"not finite at step {last['step']:,}", "bad"
        steps = self.config.get("steps")
        if not isinstance(steps, int) or self.step >= steps:
            return "finished", "good"
        if self._ended:
            return f"finished early, at step {self.step:,} of {steps:,}", "good"
        return f"at step {self.step:,} of {steps:,}", "plain"


def read_run(path: str | Path) -> Run:
    """Reads the run in a folder.

    Raises:
      InputError: it holds none.
    """
    path = Path(path)
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise InputError(f"run {path} {kind}; expected a run folder, as runs/EXPERIMENT/NAME")
    try:
        record = read_what_is_good(path / "config.json", path / "checkpoints" / "config.json")
    except InputError as error:
        raise InputError(
            f"run {path} is no run folder: {error}; name the folder that a run wrote, as"
            " runs/EXPERIMENT/NAME"
        ) from None
    lines = [
        {"step": line["step"], "split": str(line["split"])}
        | {n: v for n, v in _numbers(line).items() if n not in ("step", "split")}
        for line in read_lines(path / "metrics.jsonl")
        if is_step(line.get("step")) and "split" in line
    ]
    needed = {"step", "seconds", "steps_per_second"}
    speed = [
        numbers
        for numbers in map(_numbers, read_lines(path / "speed.jsonl"))
        if numbers.keys() >= needed
        and all(numbers[name] is not None for name in needed)
        and is_step(numbers["step"])
    ]
    evaluation = _read_object(path / "evaluation.json")
    evaluation = {
        name: value
        for name, value in evaluation.items()
        if isinstance(value, dict) and is_shallow(value)
    }
    best, best_test = evaluation.pop(BEST, {}), evaluation.pop(BEST_TEST, {})
    samples = sorted(file for file in path.glob("samples/*") if file.is_file())
    return Run(path, record, lines, speed, evaluation, best, best_test, samples)


def _read_object(path: Path) -> dict:
    """Reads a JSON file that should hold an object; an empty one where it does not."""
    value = read_json(path)
    return value if isinstance(value, dict) else {}


def declared_by(runs: list[Run], score: str) -> Score:
    """Looks up a score in the first run that declares it."""
    declared = (run.declared(score) for run in runs)
    return next((each for each in declared if each != UNDECLARED), UNDECLARED)


def _numbers(line: dict) -> dict[str, float | None]:
    """Keeps the entries that are numbers, and null, which stands for one that was not finite."""
    return {
        name: value if is_number(value) else None
        for name, value in line.items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    }
