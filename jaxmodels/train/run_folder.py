"""The folder of a run: config.json, metrics.jsonl, speed.jsonl and the places of other files."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from jaxmodels.errors import InputError
from jaxmodels.files import append_line, read_json, read_lines, write_atomically, write_json
from jaxmodels.protocol import Score
from jaxmodels.run_record import BEST_TEST, FORMAT, is_line, read_record, seal_record
from jaxmodels.train.checkpoint import Facts
from jaxmodels.train.config import Config, flags_of, from_record, to_json
from jaxmodels.train.hosts import by_first, is_first
from jaxmodels.train.identity import command_of, free_when_read, identity
from jaxmodels.train.lines import Lines
from jaxmodels.train.replaced import (
    FOLDERS,
    RECORD,
    Replaced,
    note_written,
    require_own_folders,
)

START = "start"  # the fact of weights to start from, which only training looks at
_SHOWN = 80  # letters of a fact in an error


class RunFolder:
    """A run folder, which may be missing, be empty, or hold this or another run."""

    def __init__(self, path: str | Path, name: str = ""):
        """
        name: for errors; empty: that of a workdir.
        """
        self.path, self.name = Path(path), name or f"workdir {path}"
        self.checkpoints = self.path / "checkpoints"
        self.metrics = Lines(self.path / "metrics.jsonl", self.checkpoints / "metrics.jsonl")
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.replaced = Replaced(self.path)
        self.is_summarized = False  # whether a line of the last scores is printed at the end
        self._copy = self.checkpoints / RECORD
        self._found = self.path / "evaluation.json"
        self._found_copy = self.checkpoints / "evaluation.json"

    def record(self, flag: str = "workdir") -> dict | None:
        """Reads config.json; None when there is none.

        flag: which one named the folder.

        Raises:
          InputError: it is not a run's or damaged, or the folder has files but no config.json.
        """
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise InputError(f"{flag} {self.path} is a file; expected a folder")
        path = self.path / RECORD
        if path.exists() or self._copy.exists():
            return read_record(path, self._copy)
        if self.replaced.is_whole:
            return read_record(self.path / ".replaced" / RECORD)
        # What a kill leaves of a run that had no record yet.
        own = (".lock", ".replaced", ".written")
        found = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name not in own and not _is_unwritten(entry)
        )
        if found:
            raise InputError(
                f"{flag} {self.path} is no run folder and not empty (it holds {found[0]});"
                f" name another --{flag}"
            )
        return None

    def require_run_of(self, experiment: str, record: dict) -> None:
        """Raises InputError for a run of another experiment."""
        if record["experiment"] != experiment:
            raise InputError(
                f"{self.name} is a run of '{record['experiment']}', not of '{experiment}';"
                " name another --workdir"
            )

    def check(
        self, record: dict, config: Config, source: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Raises InputError unless the recorded run is the one that config, code and data make.

        facts: those of the data; None while the data is not loaded.
        """
        self.require_run_of(config.experiment, record)
        # Both identities come from today's flags; a flag that the record lacks has its default.
        then, now = identity(from_record(type(config), record)), identity(config)
        free = set() if config.run.mode == "train" else free_when_read(config)
        differ = sorted(
            name for name in (then.keys() | now.keys()) - free if then.get(name) != now.get(name)
        )
        fields = ", ".join(f"{name} {then.get(name)} -> {now.get(name)}" for name in differ)
        if differ == ["steps"]:
            schedule = flags_of(config)["schedule"].value
            fields += f" (the schedule '{schedule}' ends at steps)"
            if common := config.same_until(then["steps"]):
                reached = self._reached()
                fields += f", of which the first {common} are the same; it is at {reached}"
                if reached <= common:
                    differ = []  # so far it is the run of that length as well
        if differ:
            raise InputError(
                f"{self.name} holds another run: {fields};"
                " give its values, name another --workdir, or --overwrite to start anew"
            )
        if record["source"] != source and not config.run.accept_code_change:
            raise InputError(
                f"the code changed since the run in {self.name} began; --accept-code-change to go"
                " on with it, or --overwrite to start anew"
            )
        self._check_facts(record["facts"], facts)

    def _reached(self) -> int:
        """Returns the step of the last checkpoint."""
        from jaxmodels.train.checkpoint import Checkpoints  # it imports jax

        return Checkpoints(self.checkpoints).last() or 0

    def _check_facts(self, then: dict, facts: Mapping[str, Any] | None) -> None:
        now = then if facts is None else json.loads(json.dumps(dict(facts)))
        # Of data that older records know by another kind of fingerprint.
        older = {name: getattr(value, "older", None) for name, value in (facts or {}).items()}
        if facts is not None and START not in now:
            then = {name: value for name, value in then.items() if name != START}
        for name in sorted(then.keys() | now.keys()):
            known = [now.get(name), older[name]] if older.get(name) else [now.get(name)]
            if not any(_are_the_same(then.get(name), fact) for fact in known):
                raise InputError(
                    f"{self.name}: {name} changed since the run began:"
                    f" {_difference(then.get(name), now.get(name))}; bring the old data back,"
                    " or --overwrite to start anew"
                )

    @by_first
    def write_record(
        self,
        config: Config,
        source: str,
        facts: Mapping[str, Any],
        environment: dict,
        monitor: tuple[str, str],
        scores: Mapping[str, Score],
        command: str = "",
    ) -> None:
        """Writes config.json, whole or not at all.

        monitor: name of the score that picks the best checkpoint, and "min" or "max"; for readers.
        command: how the run was started; empty: as python -m experiments.NAME.
        """
        record = {
            "format": FORMAT,
            "experiment": config.experiment,
            "command": command or command_of(config),
            "directory": str(Path.cwd()),
            "monitor": monitor,
            "scores": {name: score._asdict() for name, score in scores.items()},
            "config": to_json(config),
            "identity": identity(config),
            "source": source,
            "facts": dict(facts),
            "environment": environment,
        }
        if not (self.path / RECORD).exists():
            note_written(self.path)
        for path in (self._copy, self.path / RECORD):
            write_json(path, seal_record(record), indent=2)

    @by_first
    def write_status(
        self,
        status: Literal["running", "stopped", "finished", "failed"],
        step: int,
        reason: str | None = None,
    ) -> None:
        """Writes status.json for whatever launched the run.

        reason: why it finished before its last step.
        """
        values = {"status": status, "step": step, "time": time.time()}
        values |= {"processes": jax.process_count()} | ({"reason": reason} if reason else {})
        write_json(self.path / "status.json", values)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder against other runs, in the first process of this one. The lock ends with
        the process, even if killed.

        Raises:
          InputError: another process holds it, it cannot be written, or a part of it is a link.
        """
        if not is_first():
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            require_own_folders(self.path)
            file = open(self.path / ".lock", "ab")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"workdir {self.path} cannot be written: {error.strerror}") from None
        with file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass  # not a Unix
            except BlockingIOError:
                raise InputError(
                    f"another process is running in workdir {self.path}; wait for it, or name"
                    " another --workdir"
                ) from None
            yield

    @by_first
    def recover(self) -> None:
        """Completes an --overwrite that was killed. The old run returns unless the new one has its
        record; it is deleted once the new one has saved a checkpoint."""
        replaced = self.replaced
        begun = replaced.is_whole and (self.path / RECORD).exists()
        if not begun:
            replaced.bring_back()
        elif any(path.name.isdigit() for path in self.checkpoints.glob("*")):
            replaced.forget()

    def own(self, name: str) -> Path:
        """Returns the path of samples/NAME and records that the file is the run's own."""
        if is_first():
            note_written(self.path, name)
        return self.samples / name

    @by_first
    def append(self, step: int, split: str, scores: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl."""
        self.metrics.append(line_of(step, split, scores))

    @by_first
    def append_speed(self, **values: float | int | str) -> None:
        """Adds a line to speed.jsonl."""
        append_line(self.path / "speed.jsonl", values)

    def speed(self) -> list[dict[str, Any]]:
        """Reads the complete lines of speed.jsonl."""
        return read_lines(self.path / "speed.jsonl")

    def sessions(self) -> list[dict[str, Any]]:
        """Reads goodput.json: where the time of each process of the run went."""
        known = read_json(self.path / "goodput.json")
        sessions = known.get("sessions") if isinstance(known, dict) else None
        return [each for each in sessions or [] if isinstance(each, dict)]

    @by_first
    def write_sessions(self, sessions: list[dict[str, Any]]) -> None:
        """Writes goodput.json."""
        write_json(self.path / "goodput.json", {"sessions": sessions}, indent=1)

    def lines(self) -> list[dict]:
        """Reads the complete lines of metrics.jsonl."""
        return list(self.each_line())

    def each_line(self) -> Iterator[dict]:
        """Yields what `lines` returns, one at a time."""
        return filter(is_line, self.metrics.each())

    def reports(self) -> dict[str, dict]:
        """Reads evaluation.json: a record by split."""
        reports = read_json(self._found)
        if not isinstance(reports, dict):
            return {}
        return {split: found for split, found in reports.items() if isinstance(found, dict)}

    @by_first
    def write_reports(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes evaluation.json, in which these splits replace their earlier records."""
        write_json(self._found, self.reports() | dict(reports))

    def seal(self) -> Facts:
        """Copies the files that a checkpoint stands for and waits until they are on the disk;
        returns what the checkpoint records of them."""
        found = _content(self._found)
        if found is not None and found != _content(self._found_copy):
            write_atomically(self._found_copy, lambda file: file.write(found))
        return Facts(*self.metrics.seal(), found_hash=_hash(found))

    @by_first
    def restore(self, step: int, facts: Facts | None) -> None:
        """Makes the files what they were at the checkpoint of a step.

        Raises:
          InputError: metrics.jsonl is damaged, and its copy too.
        """
        if facts is None:
            self.metrics.restore_until(step)
            return
        self.metrics.restore(facts.lines, facts.lines_hash)
        # A later evaluation, or damage, may have changed evaluation.json.
        copy = _content(self._found_copy)
        if copy is not None and _hash(copy) == facts.found_hash != _hash(_content(self._found)):
            write_atomically(self._found, lambda file: file.write(copy))

    def best(self, monitor: tuple[str, str]) -> tuple[float, int] | None:
        """Returns the best validation score so far and its step; of equal scores the last. A score
        to minimise is negated, so that larger is better."""
        name, direction = monitor
        sign = {"max": 1, "min": -1}[direction]
        scores = [
            (sign * line[name], line["step"])
            for line in self.each_line()
            if line["split"] == "validation" and line.get(name) is not None
        ]
        return max(scores, default=None)

    def summary(self, step: int) -> str:
        """Formats the last line on standard output, for scripts, of a run at a step."""
        parts = [f"step={step}"]
        last = {line["split"]: line for line in self.each_line() if line["split"] != "train"}
        for split in ("test", "validation"):
            if split in last:
                # A run that stopped between two evaluations has scores of an earlier step.
                if last[split]["step"] != step:
                    parts.append(f"{split}/step={last[split]['step']}")
                parts += score_fields(split, last[split])
                break
        best = self.reports().get(BEST_TEST, {})
        if best.get("last_step") == step:
            chosen = {best["monitor"]: best["scores"].get(best["monitor"])}
            parts += [f"best/step={best['step']}", *score_fields("best", chosen)]
        return " ".join([*parts, f"workdir={self.path}"])


def line_of(step: int, split: str, scores: Mapping[str, float]) -> dict[str, Any]:
    """Makes a line of metrics.jsonl. A number that is not finite is written as null."""
    line: dict[str, Any] = {"step": step, "split": split}
    return line | {name: value if math.isfinite(value) else None for name, value in scores.items()}


def score_fields(split: str, scores: Mapping[str, Any]) -> list[str]:
    """Formats scores as ["test/accuracy=0.9931", ...], to five significant digits."""
    return [
        f"{split}/{name}={math.nan if value is None else value:.5g}"
        for name, value in scores.items()
        if name not in ("step", "split")
    ]


def _are_the_same(then: Any, now: Any) -> bool:
    """Whether facts are equal. Data with a fingerprint may differ in name, as its folder may be
    renamed."""
    if isinstance(then, dict) and isinstance(now, dict) and "fingerprint" in then:
        then, now = ({k: v for k, v in facts.items() if k != "name"} for facts in (then, now))
    return then == now


def _is_unwritten(path: Path) -> bool:
    """Whether a write was begun here and never ended: a partial file, or a folder of only these."""
    if path.is_dir() and not path.is_symlink():
        return path.name in FOLDERS and all(map(_is_unwritten, path.iterdir()))
    return path.name.endswith(".partial")


def _content(path: Path) -> bytes | None:
    """Reads the bytes of a file; None where there is none."""
    return path.read_bytes() if path.is_file() else None


def _hash(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _difference(then: object, now: object) -> str:
    """Says which of two facts' parts differ, each shortened so that a line can hold them."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return f"{str(then)[:_SHOWN]} -> {str(now)[:_SHOWN]}"
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return ", ".join(f"{name} {_difference(then.get(name), now.get(name))}" for name in names[:4])
