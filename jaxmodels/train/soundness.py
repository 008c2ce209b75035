"""Whether the files of a run are what was written, which is found without running anything."""

import contextlib
import hashlib
from typing import NamedTuple

from jaxmodels.errors import InputError
from jaxmodels.files import read_json, read_lines
from jaxmodels.run_record import read_record
from jaxmodels.train.checkpoint import Checkpoints, DamagedCheckpoint, Facts
from jaxmodels.train.run_folder import RunFolder


class Soundness(NamedTuple):
    """What was found of the files of a run."""

    damage: list[str]  # a sentence for each file that is not what was written
    checkpoints: dict[int, int]  # the whole ones by step, and the number of their arrays
    lines: int  # how many lines of metrics.jsonl were compared
    states: int  # checksums of states in speed.jsonl


def soundness_of(folder: RunFolder) -> Soundness:
    """Compares the record, every array of every checkpoint, and the lines of metrics and speed with
    their checksums, counts and each other."""
    damage: list[str] = []
    try:
        read_record(folder.path / "config.json")
    except InputError as error:
        damage.append(str(error))
    checkpoints = Checkpoints(folder.checkpoints)
    whole, facts = {}, {}
    with contextlib.closing(checkpoints):
        for step in checkpoints.steps():
            try:
                whole[step] = checkpoints.require_whole(step)
            except DamagedCheckpoint as error:
                damage.append(str(error))
            kept = checkpoints.facts(step)
            if kept:
                facts[step] = kept
    damage += _damage_of_lines(folder, facts)
    damage += _damage_of_findings(folder, facts)
    speed = read_lines(folder.path / "speed.jsonl")
    skipped = any(kept.skipped for kept in facts.values())
    damage += _contradictions(folder, speed, skipped)
    lines = max((kept.lines for kept in facts.values()), default=0)
    return Soundness(damage, whole, lines, len([line for line in speed if "state" in line]))


def _damage_of_lines(folder: RunFolder, facts: dict[int, Facts]) -> list[str]:
    """Describes the first checkpoint whose lines metrics.jsonl does not begin with."""
    for step, kept in facts.items():
        if not folder.metrics.holds(kept.lines, kept.lines_hash):
            return [
                f"{folder.metrics.path} does not begin with the {kept.lines} lines that the"
                f" checkpoint of step {step} stands for; resuming the run mends it from the copy"
                " beside the checkpoints"
            ]
    return []


def _damage_of_findings(folder: RunFolder, facts: dict[int, Facts]) -> list[str]:
    """Describes evaluation.json where it is not that of the last checkpoint of a finished run."""
    status = read_json(folder.path / "status.json")
    if not facts or not isinstance(status, dict) or status.get("status") != "finished":
        return []
    path, wanted = folder.path / "evaluation.json", facts[max(facts)].found_hash
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return [] if found == wanted else [f"{path} is not what was written"]


def _contradictions(folder: RunFolder, speed: list[dict], skipped: bool) -> list[str]:
    """Describes the first step with two states: after a resume, steps that were made again are the
    same, unless batches were left out after a divergence."""
    record = folder.record() or {"config": {}}
    if skipped or record["config"].get("on_nonfinite") == "rollback":
        return []
    states: dict[int, str] = {}
    for line in speed:
        step, state = line.get("step"), line.get("state")
        if isinstance(step, int) and state and states.setdefault(step, state) != state:
            return [
                f"{folder.path / 'speed.jsonl'} has two states of step {step}, {states[step]} and"
                f" {state}: the steps before it were made twice, with other results"
            ]
    return []
