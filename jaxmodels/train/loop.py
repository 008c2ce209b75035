"""The training loop. It knows states, batches and metrics, not what they mean."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmodels.errors import InputError, RunError
from jaxmodels.pictures import save_figure
from jaxmodels.protocol import Metrics, State
from jaxmodels.report import write_report
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.compile import EvaluationProgram, TrainProgram
from jaxmodels.train.config import TrainConfig
from jaxmodels.train.curves import curves_figure
from jaxmodels.train.debug import all_finite
from jaxmodels.train.devices import make_mesh, use_compilation_cache
from jaxmodels.train.environment import changed_bits, environment
from jaxmodels.train.experiment import Evaluation, Experiment
from jaxmodels.train.log import Log, not_finite
from jaxmodels.train.progress import Interruption, Progress
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.tensorboard import write_events


class Result(NamedTuple):
    """Where training ended."""

    state: State
    step: int
    scores: dict[str, dict[str, float]]  # the last ones of each split
    workdir: Path
    finished: bool  # False when it was asked to stop before the end
    trained: bool  # False when it was finished before


def chunk_ends(config: TrainConfig, start: int, longest: int) -> Iterator[int]:
    """The steps at which calls of the compiled program end.

    They are the multiples of every period and of `longest`, whatever `start` is, so that an
    interrupted and an uninterrupted run do the same.
    """
    periods = (config.log_every, config.eval_every, config.checkpoint_every, longest)
    while start < config.steps:
        start = min(config.steps, *((start // period + 1) * period for period in periods))
        yield start


class Trainer:
    """One run: its compiled programs and its folder."""

    def __init__(self, experiment: Experiment, config: TrainConfig, folder: RunFolder):
        use_compilation_cache()
        self.experiment, self.config, self.folder = experiment, config, folder
        mesh = make_mesh(config.mesh)
        self.program = TrainProgram(
            experiment.objective,
            experiment.train,
            experiment.hyperparameters,
            config.batch_size,
            min(config.steps, config.log_every, config.steps_per_dispatch),
            config.seed,
            mesh,
            config.batches_per_step,
            config.parallel,
        )
        self.evaluations = {
            split: EvaluationProgram(
                experiment.objective,
                source,
                config.eval_batch_size,
                self.program.keys.evaluate,
                mesh,
            )
            for split, source in experiment.evaluation.items()
        }
        self._all_finite = jax.jit(all_finite)

    def train(self, begin: Callable[[], None]) -> Result:
        """Trains from the last checkpoint, if there is one, to the end or until asked to stop.

        begin: called when the checkpoint has been read, before anything is written.
        """
        with Interruption() as interruption:
            return self._train(interruption, begin)

    def _train(self, interruption: Interruption, begin: Callable[[], None]) -> Result:
        config, folder = self.config, self.folder
        self.program.compile()
        checkpoints = Checkpoints(folder.checkpoints, write=True)
        last = checkpoints.last()
        if last is None:
            start, state, window = 0, self.program.create(), self.program.zeros()
        else:
            tree = checkpoints.restore(last, self.program.like)
            start, state, window = last, tree["state"], tree["window"]
        begin()
        folder.drop_lines_after(start if last is not None else -1)
        step = start
        feed = self.program.feed(start, chunk_ends(config, start, self.program.length))
        with Progress(config.steps, start) as progress, feed:
            devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
            size = self.experiment.train.size
            print(f"{folder.path}: {size:,} training examples, {devices}", file=sys.stderr)
            log = Log(self.experiment, config, folder, progress, start, lambda: feed.waited)
            try:
                for chunk in feed:
                    state, window = self.program.run(state, window, chunk)
                    step = chunk.stop
                    progress.at(step)
                    is_last = step == config.steps
                    if step % config.log_every == 0 or is_last:
                        log.add(step, window)
                        window = self.program.zeros()
                    improved = None
                    if step % config.eval_every == 0 or is_last:
                        with log.paused(state):
                            improved = self._evaluate(state, step, is_last, log)
                    stopping = interruption.requested and not is_last
                    due = step % config.checkpoint_every == 0 or is_last or stopping
                    if due or improved is not None:
                        with log.paused(state):
                            if is_last or stopping:
                                self._draw()
                            self._save(checkpoints, step, state, window, improved)
                    if stopping:
                        break
            except RunError:
                self._draw()
                raise
            finally:
                # What is being saved is good, whatever ended the loop.
                checkpoints.close()
        return self.result(state, step, trained=True)

    def result(self, state: State, step: int, trained: bool) -> Result:
        """What the run has come to."""
        lines = {line.pop("split"): line for line in self.folder.lines()}
        scores = {
            split: {name: value for name, value in line.items() if name != "step"}
            for split, line in lines.items()
        }
        finished = step == self.config.steps
        return Result(state, step, scores, self.folder.path, finished, trained)

    def restored(self) -> tuple[int, State] | None:
        """Step and state of the checkpoint that the config names; None when there is none."""
        checkpoints = Checkpoints(self.folder.checkpoints)
        step = getattr(checkpoints, self.config.checkpoint)()
        if step is None:
            return None
        return step, checkpoints.restore(step, self.program.like)["state"]

    def _evaluate(self, state: State, step: int, is_last: bool, log: Log) -> float | None:
        """Scores the splits that are due; the validation score (see `RunFolder.best`) if none so
        far is better."""
        for split, program in self.evaluations.items():
            # Nothing is selected on test: with a validation split it is scored once, at the end.
            if split == "test" and "validation" in self.evaluations and not is_last:
                continue
            scores = self.score(split, program, state, step, is_last, self.folder.path)
            log.write(step, split, scores)
        best = self.folder.best(self.experiment.monitor)
        return best[0] if best and best[1] == step else None

    def score(
        self,
        split: str,
        program: EvaluationProgram,
        state: State,
        step: int,
        is_last: bool,
        workdir: Path | None,
    ) -> dict[str, float]:
        """The scores of one split."""
        experiment = self.experiment
        sums = program.evaluate(state)
        scores = experiment.objective.summarize(sums)
        if experiment.after_evaluation:
            evaluation = Evaluation(
                step=step,
                split=split,
                state=state,
                source=experiment.evaluation[split],
                sums=sums,
                scores=scores,
                is_last=is_last,
                predict=lambda: program.predict(state),
                workdir=workdir,
            )
            scores = scores | (experiment.after_evaluation(evaluation) or {})
        monitor, direction = experiment.monitor
        if monitor not in scores or direction not in ("min", "max"):
            raise ValueError(
                f"monitor = {experiment.monitor}; expected 'min' or 'max' of one of {list(scores)}"
            )
        return {name: float(value) for name, value in scores.items()}

    def _draw(self) -> None:
        lines = self.folder.lines()
        try:
            if figure := curves_figure(lines):
                save_figure(figure, self.folder.path / "curves.png")
            write_events(lines, self.folder.tensorboard)
            write_report(self.folder.path)
        except Exception as error:  # the result matters more than its picture
            print(f"note: the report could not be drawn: {error!r}", file=sys.stderr)

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


def train(experiment: Experiment, config: TrainConfig, folder: RunFolder, source: str) -> Result:
    """Trains or resumes the run in `folder`; if it was finished already, only reads its state.

    source: hash of the code (see `source_hash`).

    Raises:
      InputError: the folder holds another run, or the numbers do not fit data and devices; nothing
        has been written then.
      RunError: the run failed.
    """
    record = folder.record()
    if record and not config.overwrite:
        folder.check(record, config, source, experiment.facts)
        reached = Checkpoints(folder.checkpoints).last() or 0
        if reached > config.steps:
            raise InputError(f"steps = {config.steps}; the run in {folder.path} is at {reached}")
        if reached == config.steps:
            trainer = Trainer(experiment, replace(config, checkpoint="last"), folder)
            step, state = trainer.restored()
            return trainer.result(state, step, trained=False)
    trainer = Trainer(experiment, config, folder)
    now = environment()
    with folder.locked():
        if config.overwrite:
            folder.clear()
        elif record:
            for change in [
                *changed_bits(record["environment"], now),
                *(
                    f"{name} '{record['config'].get(name)}' -> '{getattr(config, name)}'"
                    for name in ("parallel", "mesh", "eval_batch_size")
                    if record["config"].get(name) != getattr(config, name)
                ),
            ]:
                print(f"note: {change} since the run began; bits may differ", file=sys.stderr)
            now = record["environment"]

        def write_record() -> None:
            folder.write_record(config, source, experiment.facts, now, experiment.monitor)

        if record and not config.overwrite:
            return trainer.train(begin=write_record)
        # A new run's record comes before everything else in its folder.
        write_record()
        return trainer.train(begin=lambda: None)
