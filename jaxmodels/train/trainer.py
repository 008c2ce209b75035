"""One run: its compiled programs and its folder, and what is done with them."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmodels.errors import InputError, RunError, Stopped
from jaxmodels.protocol import State
from jaxmodels.run_record import BEST_TEST, reason_to_end
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import Checkpoints, Restored
from jaxmodels.train.chips import chip_of
from jaxmodels.train.config import Config, flags_of
from jaxmodels.train.course import Course
from jaxmodels.train.debug import all_finite
from jaxmodels.train.drawing import draw
from jaxmodels.train.evaluation import Sampler, SplitProgram
from jaxmodels.train.experiment import Evaluation, Experiment, Findings, Occasion
from jaxmodels.train.faults import describe_fault
from jaxmodels.train.findings import joined, write_findings
from jaxmodels.train.layout import make_mesh, use_compilation_cache
from jaxmodels.train.ledger import Ledger
from jaxmodels.train.log import Log
from jaxmodels.train.mirror import Mirror
from jaxmodels.train.program import TrainProgram
from jaxmodels.train.progress import Interruption
from jaxmodels.train.run_folder import RunFolder, line_of
from jaxmodels.train.start import start_again

DIRECTIONS = {"lower": "min", "higher": "max"}


class Result(NamedTuple):
    """The outcome of training."""

    state: State
    step: int
    scores: dict[str, dict[str, float]]  # by split, its last ones
    workdir: Path
    finished: bool  # False when training was asked to stop before the end
    trained: bool  # False when the run was finished already, so that nothing was trained
    reason: str | None = None  # why it ended before its last step


class Trainer:
    """One run: its compiled programs and its folder."""

    def __init__(
        self,
        experiment: Experiment,
        config: Config,
        folder: RunFolder,
        mirror: Mirror | None = None,
    ):
        use_compilation_cache()
        self.experiment, self.config, self.folder = experiment, config, folder
        self.mirror = mirror
        self.monitor = _monitor_of(experiment)
        run = config.run
        require_validation(experiment, config)
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
            run.on_nonfinite == "skip",
            experiment.sharding,
            run.shard,
            config.remat,
        )
        key = self.program.keys.evaluate
        self.splits = {
            split: SplitProgram(source, run.eval_batch_size, key, mesh, self.program.layout)
            for split, source in sorted(
                experiment.evaluation.items(), key=lambda item: item[0] != "validation"
            )
        }
        sample = experiment.objective.sample
        self.sampler = Sampler(sample) if sample else None
        self.all_finite = jax.jit(all_finite)
        self.ledger = Ledger()

    def train(self, begin: Callable[[], None], interruption: Interruption) -> Result:
        """Trains from the last checkpoint, if there is one, to the end or until asked to stop.

        begin: called after the checkpoint is read and before anything is written.
        """
        keep = self.config.run.keep
        checkpoints = Checkpoints(self.folder.checkpoints, write=True, keep=keep)
        with contextlib.ExitStack() as opened:
            if self.mirror:
                opened.callback(self.mirror.close)
            opened.enter_context(contextlib.closing(checkpoints))
            course = Course(self, checkpoints, interruption)
            begin()
            with self._status_of(course, checkpoints):
                course.go()
        return self.result(course.state, course.step, trained=True)

    @contextlib.contextmanager
    def _status_of(self, course: Course, checkpoints: Checkpoints) -> Iterator[None]:
        """Writes what became of the run, after the last checkpoint is on the disk."""
        status, is_copied = "failed", self.mirror is not None
        try:
            yield
            checkpoints.wait()
            if self.mirror:
                self.mirror.wait()
            status = "finished" if self.is_finished(course.step) else "stopped"
        except RunError:
            draw(self.folder)
            raise
        except (KeyboardInterrupt, Stopped):
            status, is_copied = "stopped", False  # it is to end now
            raise
        finally:
            # Waits even after an error, because the state being saved was checked before.
            checkpoints.wait()
            reason = self.reason_to_end(course.step) if status == "finished" else None
            course.write_ledger()
            self.folder.write_status(status, course.step, reason)
            if self.mirror and is_copied:
                self.mirror.finish(quiet=status == "failed")

    def reason_to_end(self, step: int) -> str | None:
        """Says why the run has ended at a step before its last; None where it has not."""
        if step == self.config.run.steps or self.config.run.patience < 1:
            return None
        return hosts.from_first(lambda: reason_of(self.experiment, self.config, self.folder, step))

    def is_finished(self, step: int) -> bool:
        """Whether nothing remains to be done after a step."""
        return step == self.config.run.steps or self.reason_to_end(step) is not None

    def result(self, state: State, step: int, trained: bool) -> Result:
        """Returns the outcome at a step, with the last scores in metrics.jsonl."""
        lines = {line.pop("split"): line for line in self.folder.each_line()}
        scores = {
            split: {name: value for name, value in line.items() if name != "step"}
            for split, line in lines.items()
        }
        finished, reason = self.is_finished(step), self.reason_to_end(step)
        return Result(state, step, scores, self.folder.path, finished, trained, reason)

    def restored(self) -> Restored | None:
        """Reads the checkpoint that the config names; None without one. Where the last is damaged,
        a note says so and the one before is read.

        Raises:
          InputError: the best, or every one, is damaged.
        """
        checkpoints = Checkpoints(self.folder.checkpoints)
        if self.config.run.checkpoint == "last":
            return checkpoints.restore_newest(self.program.like)
        step = checkpoints.best()
        return None if step is None else checkpoints.restore(step, self.program.like)

    def create(self) -> State:
        """Computes the state before the first step.

        Raises:
          InputError: it starts from weights that are gone, or others by now.
        """
        start = start_again(self.experiment, self.config, self.folder.record())
        return self.program.create(start.read() if start else {})

    def evaluate(self, state: State, step: int, occasion: Occasion, log: Log) -> float | None:
        """Scores the splits that are due; returns the validation score (as in `RunFolder.best`) if
        it is the best so far."""
        earlier, found = hosts.from_first(self.folder.reports), {}
        for split in self.splits:
            # With a validation split, the others are scored once, at the end: nothing may be
            # selected on them.
            if split != "validation" and "validation" in self.splits and occasion == "due":
                continue
            scores, found[split] = self.score(split, state, step, occasion, earlier)
            judged = "test" if "test" in self.splits else "validation"
            log.write(step, split, scores, occasion == "last" and split == judged)
            if split == "validation" and occasion == "due" and self._is_out_of_patience(step):
                # This evaluation turns out to be the last, of which more is shown.
                occasion = "last"
                more = self.score(split, state, step, occasion, earlier)[1]
                found[split] = joined(found[split], more)
        best = hosts.from_first(lambda: self.folder.best(self.monitor))
        improved = best[0] if best and best[1] == step else None
        # Without a validation split nothing is selected: the best checkpoint is the last.
        chosen = "validation" if improved is not None else None
        write_findings(self.folder, found, chosen if "validation" in self.splits else "test")
        return improved

    def _is_out_of_patience(self, step: int) -> bool:
        patience = self.config.run.patience
        return hosts.from_first(
            lambda: reason_to_end(self.folder.lines(), step, self.monitor, patience) is not None
        )

    def score_best(self, checkpoints: Checkpoints, step: int) -> None:
        """Scores test at the checkpoint that validation chose, into evaluation.json, after the last
        step of a run.

        Where the memory does not hold a second state, or that checkpoint is damaged, a note says so
        and the scores are left out.
        """
        best = hosts.from_first(lambda: self.folder.best(self.monitor))
        if "test" not in self.splits or best is None:
            return
        scores = None
        if best[1] == step:
            lines = hosts.from_first(self.folder.lines)
            lines = [line for line in lines if line["split"] == "test"]
            scores = {n: value for n, value in lines[-1].items() if n not in ("step", "split")}
        else:
            try:
                scores = self._test_scores_of(checkpoints, best[1])
            except (InputError, MemoryError, jax.errors.JaxRuntimeError) as error:
                reason = describe_fault(error)
                if reason is None and not isinstance(error, InputError):
                    raise
                print(
                    f"note: test is not scored at the best checkpoint: {reason or error}",
                    file=sys.stderr,
                )
        if scores is not None:
            record = {"step": best[1], "last_step": step, "monitor": self.monitor[0]}
            record["scores"] = scores
            self.folder.write_reports({BEST_TEST: record})

    def _test_scores_of(self, checkpoints: Checkpoints, step: int) -> dict[str, float | None]:
        """Returns the scores that --mode evaluate gives of a checkpoint, in JSON's numbers."""
        checkpoints.wait()
        if step not in checkpoints.steps():
            raise InputError(f"there is no checkpoint of step {step} any more")
        state = checkpoints.restore(step, self.program.like).tree["state"]
        earlier = hosts.from_first(self.folder.reports)
        scores, _ = self.score("test", state, step, "asked", earlier)
        return {
            n: v for n, v in line_of(step, "test", scores).items() if n not in ("step", "split")
        }

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

    def share_of_peak(self) -> float | None:
        """Returns the share of the peak of the devices, in dense bfloat16, that what a step needs
        takes at one step a second; None of devices that are not known."""
        chip = chip_of(jax.devices()[0].device_kind)
        if chip is None:
            return None
        return self.program.operations().needed / (chip.flops * self.program.mesh_size)

    def sample(self, state: State, key, conditions):
        """Draws samples of the objective.

        Raises:
          InputError: it cannot be sampled from.
        """
        require_sample(self.experiment, self.config.experiment)
        assert self.sampler
        return self.sampler(state, key, conditions)


def require_sample(experiment: Experiment, name: str) -> None:
    """Raises InputError for an objective without samples."""
    if experiment.objective.sample is None:
        raise InputError(f"{name} has nothing to sample: its objective has no function 'sample'")


def reason_of(experiment: Experiment, config: Config, folder: RunFolder, step: int) -> str | None:
    """Says why a run ended for want of patience at a step; None where it did not."""
    monitor, patience = _monitor_of(experiment), config.run.patience
    if patience < 1:
        return None
    return reason_to_end(folder.lines(), step, monitor, patience, experiment.evaluation)


def require_validation(experiment: Experiment, config: Config) -> None:
    """Raises InputError for patience without a split to be patient with."""
    patience = config.run.patience
    if patience and "validation" not in experiment.evaluation:
        carve = (
            "--validation-fraction 0.1, or " if "validation_fraction" in flags_of(config) else ""
        )
        known = ", ".join(experiment.evaluation) or "none"
        raise InputError(
            f"patience = {patience}; expected a validation split, as test may choose nothing; those"
            f" to evaluate are {known}: give {carve}data with validation, or leave --patience out"
        )


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
