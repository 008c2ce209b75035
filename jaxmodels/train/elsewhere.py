"""The evaluation of a run on other data than its own, written beside the run's own scores."""

import re
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import is_path, read_json, write_json
from jaxmodels.run_record import FORMAT
from jaxmodels.train.config import C, Config, configure, flags_of, from_record
from jaxmodels.train.experiment import Elsewhere, Experiment
from jaxmodels.train.run_folder import RunFolder, line_of, score_fields
from jaxmodels.train.trainer import Trainer


def own_config(config: C, record: dict[str, Any]) -> C | None:
    """Returns the config with the data of the run, where the given flags name other data to
    evaluate on; None where they name the same."""
    flags, recorded = flags_of(config), flags_of(from_record(type(config), record))
    if config.run.mode != "evaluate" or config.run.debug or "data" not in flags:
        return None
    given, own = str(flags["data"].value), str(recorded["data"].value)
    if given == own or (is_path(given) and _path(given) == _path(own)):
        return None
    names = ("data", "data_dir", "validation_fraction", "skip_bad_records")
    kept = {name: recorded[name].value for name in names if name in recorded}
    return configure(config, **kept)


def _path(data: str) -> Path:
    return Path(data).expanduser().resolve()


def evaluate_elsewhere(
    experiment: Experiment, own: Config, config: Config, folder: RunFolder
) -> str | None:
    """Scores a checkpoint on other data, prepared as the run's own, and writes the scores to
    evaluation-NAME.json in the run's folder; returns a line of them. None: the data are the run's
    own under another name.

    own: the config with the data of the run. config: that with the other data.

    Raises:
      InputError: there is no checkpoint, or the other data do not fit the run.
    """
    if experiment.elsewhere is None:
        if is_path(str(flags_of(config)["data"].value)):
            return None  # it may be a copy of the run's data
        raise InputError(
            f"data = {flags_of(config)['data'].value}; {config.experiment} is evaluated on the data"
            f" of its run only, {flags_of(own)['data'].value}: leave out --data"
        )
    other: Elsewhere = experiment.elsewhere(config)
    if other.fingerprint == experiment.facts.get("data", {}).get("fingerprint"):
        return None
    experiment.require_scorable(other.sources)
    after = other.after_evaluation or experiment.after_evaluation
    there = experiment._replace(evaluation=other.sources, after_evaluation=after)
    # The other data need no validation split, as nothing is trained that might end early.
    trainer = Trainer(there, configure(own, patience=0), folder)
    restored = trainer.restored()
    if restored is None:
        raise InputError(f"workdir {folder.path} has no checkpoint; train the run first")
    step, state = restored.step, restored.tree["state"]
    fields, splits = [f"step={step}"], {}
    for split in trainer.splits:
        scores, findings = trainer.score(split, state, step, "asked", {})
        fields += score_fields(f"{other.name}/{split}", scores)
        splits[split] = {**line_of(step, split, scores), **dict(findings.record or {})}
    path = _path_of(folder.path, other)
    data = {"name": other.name, "fingerprint": other.fingerprint}
    found = {"format": FORMAT, "data": data, "checkpoint": own.run.checkpoint, "splits": splits}
    write_json(path, found)
    return " ".join([*fields, f"output={path}", f"workdir={folder.path}"])


def _path_of(folder: Path, other: Elsewhere) -> Path:
    """Returns the file of the scores; that of other data of the same name is not replaced."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", other.name)
    path = folder / f"evaluation-{name}.json"
    earlier = read_json(path) if path.exists() else None
    if not isinstance(earlier, dict) or earlier.get("data", {}).get("fingerprint") in (
        None,
        other.fingerprint,
    ):
        return path
    return folder / f"evaluation-{name}-{other.fingerprint[:8]}.json"
