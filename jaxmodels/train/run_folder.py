"""The files of a run: config.json, metrics.jsonl, speed.jsonl and where the rest goes."""

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
from jaxmodels.files import append_line, read_json, write_atomically, write_json
from jaxmodels.protocol import Score
from jaxmodels.run_record import FORMAT, read_record, seal_record
from jaxmodels.train.checkpoint import Facts
from jaxmodels.train.config import Config, flags_of, from_record, to_json
from jaxmodels.train.identity import command_of, free_when_read, identity
from jaxmodels.train.lines import Lines
from jaxmodels.train.replaced import RECORD, Replaced, note_written, require_own_folders


class RunFolder:
    """A run folder that may exist, be empty, or hold this or another run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics = Lines(self.path / "metrics.jsonl", self.checkpoints / "metrics.jsonl")
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.replaced = Replaced(self.path)
        self._copy = self.checkpoints / RECORD
        self._found = self.path / "evaluation.json"
        self._found_copy = self.checkpoints / "evaluation.json"

    def record(self) -> dict | None:
        """config.json; None when there is none.

        Raises:
          InputError: it is not a run's or damaged, or the folder has files but no config.json.
        """
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise InputError(f"workdir {self.path} is a file; expected a folder")
        path = self.path / RECORD
        if path.exists() or self._copy.exists():
            return read_record(path, self._copy)
        if self.replaced.is_whole:
            return read_record(self.path / ".replaced" / RECORD)
        names = (entry.name for entry in self.path.iterdir())
        # What a kill leaves of a run that had no record yet.
        own = (".lock", ".replaced", ".written")
        found = sorted(n for n in names if n not in own and not n.endswith(".partial"))
        if found:
            raise InputError(
                f"workdir {self.path} is no run folder and not empty (it holds {found[0]});"
                " name another --workdir"
            )
        return None

    def check(
        self, record: dict, config: Config, source: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Raises InputError unless the recorded run is the one that config, code and data make.

        facts: of the data; None: not known yet.
        """
        # The record is read as today's code reads it: a flag that is new since has its default.
        then, now = identity(from_record(type(config), record)), identity(config)
        free = set() if config.run.mode == "train" else free_when_read(config)
        differ = sorted(
            name for name in (then.keys() | now.keys()) - free if then.get(name) != now.get(name)
        )
        if differ:
            fields = ", ".join(f"{name} {then.get(name)} -> {now.get(name)}" for name in differ)
            if set(differ) == {"steps"}:
                schedule = flags_of(config)["schedule"].value
                fields += f" (the schedule '{schedule}' ends at steps)"
            raise InputError(
                f"workdir {self.path} holds another run: {fields};"
                " give its values, name another --workdir, or --overwrite to start anew"
            )
        if record["source"] != source and not config.run.accept_code_change:
            raise InputError(
                f"the code changed since the run in {self.path} began; --accept-code-change to go"
                " on with it, or --overwrite to start anew"
            )
        self._check_facts(record["facts"], facts)

    def _check_facts(self, then: dict, facts: Mapping[str, Any] | None) -> None:
        now = then if facts is None else json.loads(json.dumps(dict(facts)))
        for name in sorted(then.keys() | now.keys()):
            if not _are_the_same(then.get(name), now.get(name)):
                raise InputError(
                    f"workdir {self.path}: {name} changed since the run began:"
                    f" {then.get(name)} -> {now.get(name)}; bring the old data back,"
                    " or --overwrite to start anew"
                )

    def write_record(
        self,
        config: Config,
        source: str,
        facts: Mapping[str, Any],
        environment: dict,
        monitor: tuple[str, str],
        scores: Mapping[str, Score],
    ) -> None:
        """Writes config.json, whole or not at all.

        monitor: the score that picks the best checkpoint and "min" or "max", for who reads it.
        """
        record = {
            "format": FORMAT,
            "experiment": config.experiment,
            "command": command_of(config),
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

    def write_status(
        self, status: Literal["running", "stopped", "finished", "failed"], step: int
    ) -> None:
        """Writes status.json, for what launched the run."""
        values = {"status": status, "step": step, "time": time.time()}
        write_json(self.path / "status.json", values | {"processes": jax.process_count()})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder against other processes. The lock ends with the process, even if killed.

        Raises:
          InputError: another process holds it, it cannot be written, or a part of it is a link.
        """
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

    def recover(self) -> None:
        """Undoes an --overwrite that a kill has ended before the new run had saved anything or
        even had a record; after that, forgets the run before."""
        if not self.replaced.is_whole or not (self.path / RECORD).exists():
            self.replaced.bring_back()

    def own(self, name: str) -> Path:
        """The path of samples/NAME, which is noted as the run's own."""
        note_written(self.path, name)
        return self.samples / name

    def append(self, step: int, split: str, scores: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl. A number that is not finite is written as null."""
        line: dict[str, Any] = {"step": step, "split": split}
        line |= {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self.metrics.append(line)

    def append_speed(self, **values: float | int | str) -> None:
        """Adds a line to speed.jsonl."""
        append_line(self.path / "speed.jsonl", values)

    def lines(self) -> list[dict]:
        """The whole lines of metrics.jsonl."""
        return self.metrics.read()

    def reports(self) -> dict[str, dict]:
        """What evaluation.json holds, by split."""
        reports = read_json(self._found)
        if not isinstance(reports, dict):
            return {}
        return {split: found for split, found in reports.items() if isinstance(found, dict)}

    def write_reports(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes evaluation.json: what it held, with these splits anew."""
        write_json(self._found, self.reports() | dict(reports))

    def seal(self) -> Facts:
        """Copies what a checkpoint stands for; when all is on the disk, gives what the checkpoint
        says of it."""
        found = _content(self._found)
        if found is not None and found != _content(self._found_copy):
            write_atomically(self._found_copy, lambda file: file.write(found))
        return Facts(*self.metrics.seal(), found_hash=_hash(found))

    def restore(self, step: int, facts: Facts | None) -> None:
        """Makes the files be as they were at the checkpoint of a step.

        Raises:
          InputError: metrics.jsonl is damaged, and its copy too.
        """
        if facts is None:
            self.metrics.restore_until(step)
            return
        self.metrics.restore(facts.lines, facts.lines_hash)
        # A later evaluation may have written it anew, or damage changed it.
        copy = _content(self._found_copy)
        if copy is not None and _hash(copy) == facts.found_hash != _hash(_content(self._found)):
            write_atomically(self._found, lambda file: file.write(copy))

    def best(self, monitor: tuple[str, str]) -> tuple[float, int] | None:
        """The best validation score so far, larger being better ("min" scores are negated), and
        its step; of equal scores the last."""
        name, direction = monitor
        sign = {"max": 1, "min": -1}[direction]
        scores = [
            (sign * line[name], line["step"])
            for line in self.lines()
            if line["split"] == "validation" and line[name] is not None
        ]
        return max(scores, default=None)

    def summary(self, step: int) -> str:
        """The last line on standard output, for scripts, of a run that has come to a step."""
        parts = [f"step={step}"]
        last = {line["split"]: line for line in self.lines() if line["split"] != "train"}
        for split in ("test", "validation"):
            if split in last:
                # Of a run that was stopped between two evaluations, the scores are older.
                if last[split]["step"] != step:
                    parts.append(f"{split}/step={last[split]['step']}")
                parts += score_fields(split, last[split])
                break
        return " ".join([*parts, f"workdir={self.path}"])


def score_fields(split: str, scores: Mapping[str, Any]) -> list[str]:
    """["test/accuracy=0.9931", ...], to five significant digits."""
    return [
        f"{split}/{name}={math.nan if value is None else value:.5g}"
        for name, value in scores.items()
        if name not in ("step", "split")
    ]


def _are_the_same(then: Any, now: Any) -> bool:
    """Whether facts are equal. Of data it is the fingerprint that counts, not what the folder is
    called."""
    if isinstance(then, dict) and isinstance(now, dict) and "fingerprint" in then:
        then, now = ({k: v for k, v in facts.items() if k != "name"} for facts in (then, now))
    return then == now


def _content(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none."""
    return path.read_bytes() if path.is_file() else None


def _hash(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
