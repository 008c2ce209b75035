"""Training the run of a folder: whether it begins, goes on or has finished, and its lock."""

import sys

from jaxmodels.errors import InputError
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.config import Config, Role, configure, flags_of, from_record
from jaxmodels.train.environment import changed_bits, environment
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.memory import require_memory
from jaxmodels.train.metadata import write_metadata
from jaxmodels.train.mirror import Mirror
from jaxmodels.train.origin import UNKNOWN, Origin
from jaxmodels.train.progress import Interruption
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.trainer import Result, Trainer, reason_of


def train(
    experiment: Experiment,
    config: Config,
    folder: RunFolder,
    source: str,
    origin: Origin = UNKNOWN,
    mirror: Mirror | None = None,
) -> Result:
    """Trains or resumes the run in `folder`; of a finished run it only reads the state.

    source: hash of the code (see `source_hash`). origin: for the run's record. mirror: of the
    folder, from which all has been fetched.

    Raises:
      InputError: the folder holds another run, or the config does not fit data and devices; nothing
        has been written then.
      RunError: the run failed.
    """
    finished = _finished(experiment, config, folder, source)
    if finished:
        if mirror:
            mirror.complete(finished.step, finished.reason)
        return finished
    # It may make a judge, which a run that has finished does not need.
    experiment.require_scorable(experiment.evaluation)
    hosts.require_shared(make_mesh(config.run.mesh).size, folder.path)
    trainer = Trainer(experiment, config, folder, mirror)
    with Interruption() as interruption:
        with trainer.ledger.spent("compiling"):
            trainer.program.compile()
        require_memory(trainer.program.compile(), config, trainer.program.bytes_on_device)
        if experiment.verify:
            experiment.verify(trainer.program.text())
        # The first process may change only what the others have read.
        hosts.wait_for_all("begin")
        with folder.locked():
            return _train_locked(trainer, interruption, source, origin)


def _train_locked(
    trainer: Trainer, interruption: Interruption, source: str, origin: Origin = UNKNOWN
) -> Result:
    """Trains in a folder that no other process changes: what is read here is still so when it is
    acted upon."""
    experiment, config, folder = trainer.experiment, trainer.config, trainer.folder
    if trainer.mirror:
        trainer.mirror.claim()
    now = environment(origin.files)
    hosts.first_only(folder.recover)
    record = folder.record()
    hosts.wait_for_all("record")
    if config.run.overwrite:
        hosts.first_only(folder.replaced.put_aside)
    elif record:
        _check(record, experiment, config, folder, source)
        note_changes(record, now, config)
        now = record["environment"]

    def write_record() -> None:
        monitor, scores, command = trainer.monitor, experiment.scores, origin.command
        folder.write_record(config, source, experiment.facts, now, monitor, scores, command)
        write_metadata(folder, experiment)

    if record and not config.run.overwrite:
        return trainer.train(write_record, interruption)
    try:
        # A new run's record comes before everything else in its folder.
        hosts.first_only(write_record)
        return trainer.train(lambda: None, interruption)
    except BaseException:
        # The old run returns, unless the new one has saved a checkpoint.
        if hosts.is_first():
            folder.replaced.bring_back()
        raise


def _finished(
    experiment: Experiment, config: Config, folder: RunFolder, source: str
) -> Result | None:
    """Returns the outcome of a run that has finished; None where something remains to be done."""
    record = folder.record()
    if record is None or config.run.overwrite or folder.replaced.exists:
        return None
    reached = _check(record, experiment, config, folder, source)
    if reached != config.run.steps and not reason_of(experiment, config, folder, reached):
        return None
    trainer = Trainer(experiment, configure(config, checkpoint="last"), folder)
    restored = trainer.restored()
    if restored is None or restored.step != reached:
        return None  # the last checkpoint is damaged
    facts = restored.facts
    if facts and not facts.evaluated:
        return None
    if facts and not folder.metrics.holds(facts.lines, facts.lines_hash):
        with folder.locked():
            folder.restore(reached, facts)
    return trainer.result(restored.tree["state"], reached, trained=False)


def _check(
    record: dict, experiment: Experiment, config: Config, folder: RunFolder, source: str
) -> int:
    """Returns the step that the run in the folder has reached.

    Raises:
      InputError: it is another run, or it is beyond its end.
    """
    folder.check(record, config, source, experiment.facts)
    reached = Checkpoints(folder.checkpoints).last() or 0
    if reached > config.run.steps:
        raise InputError(f"steps = {config.run.steps}; the run in {folder.path} is at {reached}")
    return reached


def note_changes(record: dict, now: dict, config: Config) -> None:
    """Notes on standard error what has changed since the run began and may change bits."""
    then = flags_of(from_record(type(config), record))
    flags = flags_of(config)
    changed = [
        f"{name} '{then[name].value}' -> '{flag.value}'"
        for name, flag in flags.items()
        if flag.role is Role.BITS and name in then and then[name].value != flag.value
    ]
    for change in [*changed_bits(record["environment"], now), *changed]:
        print(f"note: {change} since the run began; bits may differ", file=sys.stderr)
