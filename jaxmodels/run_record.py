"""Reading the files of a run, which somebody may have edited, cut or forged.

Everything is checked, including its size; an error names the file, in one line.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import read_json

# 1 had every flag of every model; 2 has the options of the chosen model alone; 3 has a checksum,
# and checkpoints that know their checksums and lines.
FORMAT = 3
_FIRST_SEALED = 3

# The entry of evaluation.json with the test scores of the checkpoint that validation chose:
# {"step", "last_step" of the run, "monitor", "scores"}.
BEST_TEST = "best/test"

# What the numbers "mfu" of speed.jsonl and of plans count (see `train.operations`).
MFU_COUNTS = "causal attention half, nothing that is computed again"

_DEEPEST = 32
_TEXT, _OBJECT = (str,), (dict,)
_REQUIRED = {
    "experiment": _TEXT,
    "config": _OBJECT,
    "identity": _OBJECT,
    "source": _TEXT,
    "facts": _OBJECT,
    "environment": _OBJECT,
}
_OPTIONAL = {
    "format": (int,),
    "command": _TEXT,
    "directory": _TEXT,
    "monitor": (list,),
    "scores": _OBJECT,
}


def read_record(path: Path, copy: Path | None = None) -> dict[str, Any]:
    """Reads config.json, or the copy where that is damaged.

    Raises:
      InputError: it is no run's, damaged, or written by a newer version.
    """
    record = read_json(path)
    problem = _problem(record)
    if problem and copy:
        kept = read_json(copy)
        if not _problem(kept):
            return kept
    if problem:
        raise InputError(f"{path} is not the record of a run: {problem}")
    return record


def read_what_is_good(path: Path, copy: Path) -> dict[str, Any]:
    """Reads config.json for those who only show a run: of an older version's, which had no
    checksum, the fields that are missing or damaged are left out.

    Raises:
      InputError: it is no run's, damaged, or written by a newer version.
    """
    record = read_json(path)
    if isinstance(record, dict) and record.get("format", 1) in range(1, _FIRST_SEALED):
        kinds = _REQUIRED | _OPTIONAL
        good = {n: v for n, v in record.items() if n not in kinds or _is_of(v, kinds[n])}
        if "scores" in good:
            good["scores"] = {n: s for n, s in good["scores"].items() if _is_score(s)}
        if _problem_of_monitor(good):
            del good["monitor"]
        if {"experiment", "config"} <= good.keys() and is_shallow(good):
            return good
    return read_record(path, copy)


def seal_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record with its checksum."""
    unsealed = {name: value for name, value in record.items() if name != "checksum"}
    return {**unsealed, "checksum": _checksum(unsealed)}


def seal_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Writes what a checkpoint says of itself as JSON, with a checksum of that."""
    content = json.dumps(facts)
    return {"content": content, "sha256": _sha256(content)}


def read_facts(checkpoint: Path) -> dict[str, Any] | None:
    """Reads what a checkpoint says of itself: facts of the run at its step, and in "arrays" the
    type and the checksum of each by name. None: a version wrote it that kept no facts.

    Raises:
      InputError: they cannot be read, or are not what was written.
    """
    path = checkpoint / "_CHECKPOINT_METADATA"
    try:
        sealed = json.loads(path.read_bytes())["custom_metadata"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"its file {path.name} cannot be read") from None
    if not sealed:
        return None
    try:
        content = sealed["content"]
        if sealed["sha256"] == _sha256(content):
            return json.loads(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise InputError(f"its file {path.name} is not what was written")


def states_of(lines: list[dict[str, Any]]) -> dict[int, str]:
    """Returns the checksum of the state at each step for which speed.jsonl has one; where it has
    several, as after a resume, the last."""
    return {
        line["step"]: line["state"]
        for line in lines
        if isinstance(line.get("step"), int) and isinstance(line.get("state"), str)
    }


def stale_since(lines: list[dict[str, Any]], name: str, better: str) -> tuple[int, int] | None:
    """Returns how many evaluations of validation followed that of the best score, and the step of
    the best; None before the first. A score that equals the best, or is not finite, is not better.

    better: "min" or "max".
    """
    sign = {"max": 1, "min": -1}[better]
    best, step, count = None, 0, 0
    for line in lines:
        if line["split"] != "validation":
            continue
        value = line.get(name)
        if value is not None and (best is None or sign * value > best):
            best, step, count = sign * value, line["step"], 0
        else:
            count += 1
    return None if best is None else (count, step)


def reason_to_end(
    lines: list[dict[str, Any]],
    step: int,
    monitor: Sequence[str],
    patience: int,
    splits: Iterable[str] = ("validation",),
) -> str | None:
    """Says why a run has ended at a step before its last; None where it has not.

    It has ended where the score of validation has not improved in `patience` evaluations, the last
    of them at this step, and all `splits` have been scored there. patience: 0: it never does.
    """
    if patience < 1:
        return None
    stale = stale_since([line for line in lines if line["step"] <= step], monitor[0], monitor[1])
    here = {line["split"] for line in lines if line["step"] == step}
    if stale is None or stale[0] < patience or not set(splits) <= here:
        return None
    return (
        f"validation {monitor[0]} has not improved in {stale[0]} evaluations, since step"
        f" {stale[1]:,} (patience {patience})"
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _problem(record: Any) -> str | None:
    """Says what is wrong with a record; None for a good one."""
    if not isinstance(record, dict):
        return "it is missing, or holds no JSON object"
    for name, kinds in _REQUIRED.items() | _OPTIONAL.items():
        if name not in record:
            if name in _REQUIRED:
                return f"it has no '{name}'"
        elif not _is_of(record[name], kinds):
            return f"'{name}' is {_shown(record[name])}"
    if record.get("format", 1) > FORMAT:
        return f"its format is {record['format']}; this version reads up to {FORMAT}"
    if not is_shallow(record):
        return f"it is nested more than {_DEEPEST} deep"
    unsealed = {name: value for name, value in record.items() if name != "checksum"}
    # Only a record of an older version has none.
    if record.get("format", 1) >= _FIRST_SEALED and record.get("checksum") != _checksum(unsealed):
        return "it was changed since it was written; bring the old one back"
    for name, score in record.get("scores", {}).items():
        if not _is_score(score):
            return f"score '{name}' is {_shown(score)}"
    return _problem_of_monitor(record)


def _problem_of_monitor(record: dict[str, Any]) -> str | None:
    monitor = record.get("monitor")
    if monitor is not None and (
        len(monitor) != 2 or not isinstance(monitor[0], str) or monitor[1] not in ("min", "max")
    ):
        return f"'monitor' is {_shown(monitor)}"
    return None


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_score(score: Any) -> bool:
    return isinstance(score, dict) and all(isinstance(part, str) for part in score.values())


def is_shallow(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether a value of JSON is nested at most so deep."""
    if not isinstance(value, (dict, list)):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(is_shallow(part, depth - 1) for part in parts)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_step(value: Any) -> bool:
    """Whether a value of JSON is a step that a script can hold exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_line(line: dict[str, Any]) -> bool:
    """Whether an object of metrics.jsonl is a line of scores, each a number or null."""
    scores = (value for name, value in line.items() if name not in ("step", "split"))
    return (
        is_step(line.get("step"))
        and isinstance(line.get("split"), str)
        and all(value is None or is_number(value) for value in scores)
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
