"""The training loop. It knows states, batches and metrics, not what they mean."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmodels.errors import InputError, RunError, Stopped
from jaxmodels.protocol import Metrics, State
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.config import Config, Role, configure, flags_of, from_record
from jaxmodels.train.debug import all_finite
from jaxmodels.train.drawing import draw
from jaxmodels.train.environment import changed_bits, environment
from jaxmodels.train.evaluation import Sampler, SplitProgram
from jaxmodels.train.experiment import Evaluation, Experiment, Findings, Occasion
from jaxmodels.train.findings import write_findings
from jaxmodels.train.layout import make_mesh, use_compilation_cache
from jaxmodels.train.log import Log, not_finite
from jaxmodels.train.program import TrainProgram
from jaxmodels.train.progress import Interruption, Progress
from jaxmodels.train.run_folder import RunFolder

DIRECTIONS = {"lower": "min", "higher": "max"}


class Result(NamedTuple):
    """The outcome of training."""

    state: State
    step: int
    scores: dict[str, dict[str, float]]  # by split, its last ones
    workdir: Path
    finished: bool  # False when training was asked to stop before the end
    trained: bool  # False when the run was finished already, so that nothing was trained


def chunk_ends(config: Config, start: int, longest: int) -> Iterator[int]:
    """Yields the steps at which calls of the compiled program end.

    They are the multiples of every period and of `longest`, whatever `start` is, so that an
    interrupted run calls the program at the same steps as an uninterrupted one.
    """
    run = config.run
    periods = (run.log_every, run.eval_every, run.checkpoint_every, longest)
    while start < run.steps:
        start = min(run.steps, *((start // period + 1) * period for period in periods))
        yield start


class Trainer:
    """One run: its compiled programs and its folder."""

    def __init__(self, experiment: Experiment, config: Config, folder: RunFolder):
        use_compilation_cache()
        self.experiment, self.config, self.folder = experiment, config, folder
        self.monitor = _monitor_of(experiment)
        run = config.run
        mesh = make_mesh(run.mesh)
        self.program = TrainProgram(
            experiment.objective,
            experiment.train,
            run.batch_size,
            min(run.steps, run.log_every, run.steps_per_dispatch),
            run.seed,
            mesh,
            config.batches_per_step,
            run.parallel,
        )
        key = self.program.keys.evaluate
        self.splits = {
            split: SplitProgram(source, run.eval_batch_size, key, mesh)
            for split, source in sorted(
                experiment.evaluation.items(), key=lambda item: item[0] != "validation"
            )
        }
        sample = experiment.objective.sample
        self.sampler = Sampler(sample) if sample else None
        self._all_finite = jax.jit(all_finite)

    def train(self, begin: Callable[[], None]) -> Result:
        """Trains from the last checkpoint, if there is one, to the end or until asked to stop.

        begin: called after the checkpoint is read and before anything is written.
        """
        with Interruption() as interruption:
            return self._train(interruption, begin)

    def _train(self, interruption: Interruption, begin: Callable[[], None]) -> Result:
        config, folder = self.config, self.folder
        self.program.compile()
        checkpoints = Checkpoints(folder.checkpoints, write=True)
        start, state, window = self._start(checkpoints)
        begin()
        folder.drop_lines_after(start if start else -1)
        folder.write_status("running", start)
        step, status = start, "failed"
        feed = self.program.feed(start, chunk_ends(config, start, self.program.length))
        with Progress(config.run.steps, start) as progress, feed:
            devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
            size = self.experiment.train.size
            print(f"{folder.path}: {size:,} training examples, {devices}", file=sys.stderr)
            log = Log(self.experiment, config, folder, progress, start, lambda: feed.waited)
            try:
                for chunk in feed:
                    state, window = self.program.run(state, window, chunk)
                    step = chunk.stop
                    progress.at(step)
                    window = self._record(state, step, window, log)
                    improved = self._evaluate_if_due(state, step, log)
                    # Read after the evaluation, so that a request during it ends the run here.
                    stopping = interruption.requested and step != config.run.steps
                    self._save_if_due(checkpoints, step, state, window, log, improved, stopping)
                    if stopping:
                        break
                status = "finished" if step == config.run.steps else "stopped"
            except RunError:
                draw(folder)
                raise
            except (KeyboardInterrupt, Stopped):
                status = "stopped"
                raise
            finally:
                # Waits even after an error, because the state being saved was checked before.
                checkpoints.close()
                folder.write_status(status, step)
        return self.result(state, step, trained=True)

    def _start(self, checkpoints: Checkpoints) -> tuple[int, State, Metrics]:
        """Returns step, state and window of the last checkpoint, or those of a new run."""
        last = checkpoints.last()
        if last is None:
            return 0, self.program.create(), self.program.zeros()
        tree = checkpoints.restore(last, self.program.like)
        return last, tree["state"], tree["window"]

    def _record(self, state: State, step: int, window: Metrics, log: Log) -> Metrics:
        """Hands the window to the log when it is full; returns the one to continue with."""
        run = self.config.run
        if step % run.log_every and step != run.steps:
            return window
        log.add(step, window)
        return self.program.zeros()

    def _evaluate_if_due(self, state: State, step: int, log: Log) -> float | None:
        """Evaluates when due; returns the validation score if it is the best so far."""
        run = self.config.run
        is_last = step == run.steps
        if step % run.eval_every and not is_last:
            return None
        with log.paused(state):
            return self._evaluate(state, step, "last" if is_last else "due", log)

    def _save_if_due(
        self,
        checkpoints: Checkpoints,
        step: int,
        state: State,
        window: Metrics,
        log: Log,
        improved: float | None,
        stopping: bool,
    ) -> None:
        run = self.config.run
        is_last = step == run.steps
        due = step % run.checkpoint_every == 0 or is_last or stopping
        if due or improved is not None:
            with log.paused(state):
                if is_last or stopping:
                    draw(self.folder)
                self._save(checkpoints, step, state, window, improved)

    def result(self, state: State, step: int, trained: bool) -> Result:
        """Returns the outcome at a step, with the last scores in metrics.jsonl."""
        lines = {line.pop("split"): line for line in self.folder.lines()}
        scores = {
            split: {name: value for name, value in line.items() if name != "step"}
            for split, line in lines.items()
        }
        finished = step == self.config.run.steps
        return Result(state, step, scores, self.folder.path, finished, trained)

    def restored(self) -> tuple[int, State] | None:
        """Reads step and state of the checkpoint that the config names; None without one."""
        checkpoints = Checkpoints(self.folder.checkpoints)
        step = getattr(checkpoints, self.config.run.checkpoint)()
        if step is None:
            return None
        return step, checkpoints.restore(step, self.program.like)["state"]

    def _evaluate(self, state: State, step: int, occasion: Occasion, log: Log) -> float | None:
        """Scores the splits that are due; returns the validation score (as in `RunFolder.best`) if
        it is the best so far."""
        earlier, found = self.folder.reports(), {}
        for split in self.splits:
            # With a validation split, the others are scored once, at the end: nothing may be
            # selected on them.
            if split != "validation" and "validation" in self.splits and occasion == "due":
                continue
            scores, found[split] = self.score(split, state, step, occasion, earlier)
            log.write(step, split, scores)
        best = self.folder.best(self.monitor)
        improved = best[0] if best and best[1] == step else None
        # Without a validation split nothing is selected: the best checkpoint is the last.
        chosen = "validation" if improved is not None else None
        write_findings(self.folder, found, chosen if "validation" in self.splits else "test")
        return improved

    def score(
        self, split: str, state: State, step: int, occasion: Occasion, earlier: dict[str, dict]
    ) -> tuple[dict[str, float], Findings]:
        """Computes the scores of one split and its findings.

        Raises:
          ValueError: a score that the experiment does not declare.
        """
        experiment, program = self.experiment, self.splits[split]
        sums = program.sum(experiment.objective.evaluate, state)
        scores, findings = experiment.objective.summarize(sums), Findings()
        if experiment.after_evaluation:
            evaluation = Evaluation(
                step=step,
                split=split,
                state=state,
                scores=scores,
                sums=sums,
                occasion=occasion,
                sum=lambda function: program.sum(function, state),
                map=lambda function, rows=None: program.map(function, state, rows),
                draw=lambda key, conditions: self.sample(state, key, conditions),
                examples=experiment.evaluation[split].examples,
                earlier=earlier,
            )
            findings = experiment.after_evaluation(evaluation) or findings
        if self.sampler:
            self.sampler.forget()
        scores = {name: float(value) for name, value in (scores | dict(findings.scores)).items()}
        _require_declared(experiment, scores)
        return scores, findings

    def sample(self, state: State, key, conditions):
        """Draws samples of the objective.

        Raises:
          InputError: it cannot be sampled from.
        """
        if self.sampler is None:
            raise InputError(f"mode = sample; {self.config.experiment} has nothing to sample")
        return self.sampler(state, key, conditions)

    def _save(
        self,
        checkpoints: Checkpoints,
        step: int,
        state: State,
        window: Metrics,
        improved: float | None,
    ) -> None:
        if not self._all_finite(state):
            raise RunError(not_finite("the state is", step))
        if state["step"] != step:
            raise ValueError(
                f"after {step} steps state['step'] is {state['step']}; the objective's step must"
                " add 1 to it"
            )
        self.folder.sync()
        checkpoints.save(step, {"state": state, "window": window}, improved)


def _monitor_of(experiment: Experiment) -> tuple[str, str]:
    """Returns the name of the score that picks the best checkpoint, and "min" or "max"."""
    score = experiment.scores.get(experiment.monitor)
    if score is None or score.better not in DIRECTIONS:
        known = [name for name, s in experiment.scores.items() if s.better in DIRECTIONS]
        raise ValueError(
            f"monitor = {experiment.monitor}; expected a declared score with a better value, one of"
            f" {known}"
        )
    return experiment.monitor, DIRECTIONS[score.better]


def _require_declared(experiment: Experiment, scores: dict[str, float]) -> None:
    unknown = sorted(scores.keys() - experiment.scores.keys())
    if unknown:
        raise ValueError(
            f"scores {unknown} are not declared; expected a Score for each in Experiment.scores"
        )
    if experiment.monitor not in scores:
        raise ValueError(f"monitor = {experiment.monitor}; expected one of {list(scores)}")


def train(experiment: Experiment, config: Config, folder: RunFolder, source: str) -> Result:
    """Trains or resumes the run in `folder`; of a finished run it only reads the state.

    source: hash of the code (see `source_hash`).

    Raises:
      InputError: the folder holds another run, or the config does not fit data and devices; nothing
        has been written then.
      RunError: the run failed.
    """
    record = folder.record()
    if record and not config.run.overwrite:
        folder.check(record, config, source, experiment.facts)
        reached = Checkpoints(folder.checkpoints).last() or 0
        if reached > config.run.steps:
            raise InputError(
                f"steps = {config.run.steps}; the run in {folder.path} is at {reached}"
            )
        if reached == config.run.steps:
            trainer = Trainer(experiment, configure(config, checkpoint="last"), folder)
            step, state = trainer.restored() or (0, trainer.program.create())
            return trainer.result(state, step, trained=False)
    trainer = Trainer(experiment, config, folder)
    now = environment()
    with folder.locked():
        if config.run.overwrite:
            folder.clear()
        elif record:
            note_changes(record, now, config)
            now = record["environment"]

        def write_record() -> None:
            scores = experiment.scores
            folder.write_record(config, source, experiment.facts, now, trainer.monitor, scores)

        if record and not config.run.overwrite:
            return trainer.train(begin=write_record)
        # A new run's record comes before everything else in its folder.
        write_record()
        return trainer.train(begin=lambda: None)


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
