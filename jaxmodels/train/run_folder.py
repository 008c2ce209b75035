"""The files of a run: config.json, metrics.jsonl, speed.jsonl and where the rest goes."""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from jaxmodels.errors import InputError
from jaxmodels.files import append_line, read_json, read_lines, sync, write_json, write_text
from jaxmodels.protocol import Score
from jaxmodels.train.config import FORMAT, Config, flags_of, from_record, to_json
from jaxmodels.train.identity import command_of, free_when_read, identity
from jaxmodels.train.tensorboard import FILE as EVENTS

# config.json last: while it is there, what a kill leaves of the others is a run's.
FILES = (
    "metrics.jsonl",
    "speed.jsonl",
    "curves.png",
    "report.html",
    "evaluation.json",
    "status.json",
    "config.json",
)
# What an evaluation may leave in samples/.
SAMPLES = (".png", ".txt", ".jsonl", ".wav")
RECORD = {"experiment", "config", "identity", "source", "facts", "environment"}


class RunFolder:
    """A run folder that may exist, be empty, or hold this or another run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"

    def record(self) -> dict | None:
        """config.json; None when there is none.

        Raises:
          InputError: it is not a run's, or the folder has files but no config.json.
        """
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise InputError(f"workdir {self.path} is a file; expected a folder")
        path = self.path / "config.json"
        if not path.exists():
            names = (entry.name for entry in self.path.iterdir())
            found = sorted(n for n in names if n != ".lock" and not n.endswith(".partial"))
            if found:
                raise InputError(
                    f"workdir {self.path} is no run folder and not empty (it holds {found[0]});"
                    " name another --workdir"
                )
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not record.keys() >= RECORD:
            raise InputError(f"{path} is not the record of a run; name another --workdir")
        return record

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
        # Of data that older records know by another kind of fingerprint.
        older = {name: getattr(value, "older", None) for name, value in (facts or {}).items()}
        for name in sorted(then.keys() | now.keys()):
            known = [now.get(name), older[name]] if older.get(name) else [now.get(name)]
            if not any(_are_the_same(then.get(name), fact) for fact in known):
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
        write_json(self.path / "config.json", record, indent=2)

    def write_status(
        self, status: Literal["running", "stopped", "finished", "failed"], step: int
    ) -> None:
        """Writes status.json, for what launched the run."""
        values = {"status": status, "step": step, "time": time.time()}
        write_json(self.path / "status.json", values | {"processes": jax.process_count()})

    def clear(self) -> None:
        """Removes what a run wrote, and nothing else."""
        for path in [*self.checkpoints.glob("*")]:
            if path.name.isdigit() or path.name.endswith(".orbax-checkpoint-tmp"):
                shutil.rmtree(path)
        for path in [
            *(path for end in SAMPLES for path in self.samples.glob(f"*{end}")),
            *self.tensorboard.glob(f"*/{EVENTS}"),
            *(self.path / name for name in FILES),
        ]:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder against other processes. The lock ends with the process, even if killed.

        Raises:
          InputError: another process holds it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "w")  # noqa: SIM115
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

    def append(self, step: int, split: str, scores: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl. A number that is not finite is written as null."""
        line: dict[str, Any] = {"step": step, "split": split}
        line |= {name: value if math.isfinite(value) else None for name, value in scores.items()}
        append_line(self.metrics, line)

    def sync(self) -> None:
        """Returns when the lines of metrics.jsonl are on the disk."""
        sync(self.metrics)

    def append_speed(self, **values: float | int) -> None:
        """Adds a line to speed.jsonl."""
        append_line(self.path / "speed.jsonl", values)

    def lines(self) -> list[dict]:
        """The whole lines of metrics.jsonl."""
        return read_lines(self.metrics)

    def drop_lines_after(self, step: int) -> None:
        """Keeps the lines of metrics.jsonl up to a step, those that its checkpoint stands for."""
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["step"] <= step]
        write_text(self.metrics, "".join(kept))

    def reports(self) -> dict[str, dict]:
        """What evaluation.json holds, by split."""
        reports = read_json(self.path / "evaluation.json")
        return reports if isinstance(reports, dict) else {}

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
