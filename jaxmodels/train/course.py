"""Training on its way: steps, and what is due between them."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax

from jaxmodels.errors import RunError
from jaxmodels.train import hosts
from jaxmodels.train.checkpoint import Checkpoints, Facts
from jaxmodels.train.config import Config, flags_of
from jaxmodels.train.digest import digest_tree
from jaxmodels.train.drawing import draw
from jaxmodels.train.ledger import lost_steps
from jaxmodels.train.log import Diverged, Log, not_finite
from jaxmodels.train.progress import Interruption, Progress
from jaxmodels.train.trace import Trace

if TYPE_CHECKING:
    from jaxmodels.train.trainer import Trainer

# Divergences after which a run that makes no further checkpoint is given up.
_MOST_ROLLBACKS = 10


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


def _unscored(config: Config) -> str:
    """Says that a run without validation and test has no scores, and how it gets some."""
    flag = "validation_fraction" in flags_of(config)
    fix = "; --validation-fraction 0.1 keeps a tenth of the examples for it" if flag else ""
    return f"note: no validation or test split, so nothing but training is scored{fix}"


class Course:
    """A run from its newest checkpoint on: where it is, and what it has to do next.

    Raises:
      InputError: the checkpoints are all damaged, or of other code; nothing is written then.
    """

    def __init__(self, trainer: "Trainer", checkpoints: Checkpoints, interruption: Interruption):
        self._trainer, self._checkpoints = trainer, checkpoints
        self._interruption = interruption
        self._run, self._folder = trainer.config.run, trainer.folder
        self._rollbacks = 0
        with trainer.ledger.spent("restoring"):
            self._restore()
        self._first, self._sessions = self.step, self._folder.sessions()
        trainer.ledger.lost = lost_steps(self._folder.speed(), self.step)

    def _restore(self) -> None:
        """Takes state and window of the newest checkpoint, or of the beginning."""
        program = self._trainer.program
        restored = self._checkpoints.restore_newest(program.like)
        self.step, self.facts, self._saves_step_0 = 0, None, False
        if restored is None:
            self.state, self._window = self._trainer.create(), program.zeros()
            # With a checkpoint of step 0, the run does not need its source of weights again.
            self._saves_step_0 = self._trainer.experiment.start is not None
        else:
            self.step, self.facts = restored.step, restored.facts
            self.state, self._window = restored.tree["state"], restored.tree["window"]
        self._skipped = self.facts.skipped if self.facts else 0
        self._saved = self.step

    def go(self) -> None:
        """Trains to the end, or until asked to stop.

        Raises:
          RunError: it diverged, and may not or cannot go on.
        """
        while True:
            self._rewind_files()
            try:
                return self._go_once()
            except Diverged as diverged:
                self._roll_back(diverged)

    def _rewind_files(self) -> None:
        """Makes the folder be as it was at this step."""
        self._checkpoints.delete_after(self.step)
        hosts.first_only(self._rewind_lines)
        if self._trainer.mirror:
            self._trainer.mirror.catch_up()

    def _rewind_lines(self) -> None:
        # Before a first checkpoint no line counts.
        self._folder.restore(self.step if self._saved else -1, self.facts)
        self._folder.write_status("running", self.step)

    def _go_once(self) -> None:
        """Trains to the end, or until asked to stop; raises Diverged where it diverges."""
        trainer, program = self._trainer, self._trainer.program
        is_evaluated = self.facts is None or self.facts.evaluated
        if self.step and is_evaluated and trainer.is_finished(self.step):
            return
        ends = chunk_ends(trainer.config, self.step, program.length)
        feed = program.feed(self.step, ends, self._skipped)
        with Progress(self._run.steps, self.step) as progress, feed:
            devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
            size = trainer.experiment.train.size
            print(f"{self._folder.path}: {size:,} training examples, {devices}", file=sys.stderr)
            if trainer.experiment.introduction:
                print(trainer.experiment.introduction, file=sys.stderr)
            if not trainer.experiment.evaluation:
                print(_unscored(trainer.config), file=sys.stderr)
            log = Log(trainer.experiment, trainer.config, self._folder, progress, self.step)
            log.share = trainer.share_of_peak()
            log.waited = trainer.ledger.waited = lambda: feed.waited
            if not is_evaluated:
                self._save(log, self._evaluate(log))
                if self._is_last():
                    draw(self._folder)
                    return
            if self._saves_step_0:
                self._save(log, None)
            trace = Trace(self._folder.path / "profile", self._run.profile)
            for chunk in feed:
                with trace.of(chunk.start, chunk.stop, lambda: self.state):
                    self.state, self._window = program.run(self.state, self._window, chunk)
                self.step = chunk.stop
                progress.at(self.step)
                self._log_if_due(log)
                improved = self._evaluate_if_due(log)
                # Read after the evaluation, so that a request during it ends the run here.
                is_last = self._is_last()
                stopping = not is_last and hosts.any_requests(self._interruption.requested)
                self._save_if_due(log, improved, stopping)
                if stopping or is_last:
                    return

    def _is_last(self) -> bool:
        """Whether no step follows: all are done, or patience has run out."""
        return self._trainer.is_finished(self.step)

    def _log_if_due(self, log: Log) -> None:
        """Hands a full window to the log, and begins another."""
        if self.step % self._run.log_every and self.step != self._run.steps:
            return
        program = self._trainer.program
        log.add(self.step, self._window, digest_tree(self.state), program.take_refused())
        self._window = program.zeros()

    def _evaluate_if_due(self, log: Log) -> float | None:
        """Evaluates when due; returns the validation score if it is the best so far."""
        if self.step % self._run.eval_every and self.step != self._run.steps:
            return None
        return self._evaluate(log)

    def _evaluate(self, log: Log) -> float | None:
        with log.paused(self.state), self._trainer.ledger.spent("evaluating"):
            before = self._sealed()
            try:
                occasion = "last" if self.step == self._run.steps else "due"
                improved = self._trainer.evaluate(self.state, self.step, occasion, log)
                if self._is_last():
                    self._trainer.score_best(self._checkpoints, self.step)
                return improved
            except Exception:
                # The steps since the last checkpoint are kept, whatever is wrong with the
                # evaluation, which the same command makes again.
                with contextlib.suppress(Exception):
                    self._write(before._replace(evaluated=False), None)
                raise

    def _save_if_due(self, log: Log, improved: float | None, stopping: bool) -> None:
        is_last = self._is_last()
        if (
            self.step % self._run.checkpoint_every == 0
            or is_last
            or stopping
            or improved is not None
        ):
            with log.paused(self.state), self._trainer.ledger.spent("evaluating"):
                if is_last or stopping:
                    draw(self._folder)
            self._save(log, improved)

    def _save(self, log: Log, improved: float | None) -> None:
        with log.paused(self.state), self._trainer.ledger.spent("saving"):
            self._write(self._sealed(), improved)
            self.write_ledger()

    def write_ledger(self) -> None:
        """Writes where the time went so far, after that of earlier processes."""
        session = self._trainer.ledger.session(self._first, self.step)
        self._folder.write_sessions([*self._sessions, session])

    def _sealed(self) -> Facts:
        """Copies the files that a checkpoint stands for, in the first process."""
        return Facts(*hosts.from_first(self._folder.seal))

    def _write(self, facts: Facts, improved: float | None) -> None:
        state, step = self.state, self.step
        if not self._trainer.all_finite(state):
            raise Diverged("the state is", step)
        if state["step"] != step:
            raise ValueError(
                f"after {step} steps state['step'] is {state['step']}; the objective's step must"
                " add 1 to it"
            )
        tree = {"state": state, "window": self._window}
        facts = facts._replace(skipped=self._skipped, score=improved)
        with self._copied(facts):
            self._checkpoints.save(step, tree, facts)
        self._saved, self._rollbacks = step, 0
        if hosts.from_first(lambda: self._folder.replaced.exists):
            self._checkpoints.wait()
            hosts.first_only(self._folder.replaced.forget)

    @contextlib.contextmanager
    def _copied(self, facts: Facts) -> Iterator[None]:
        """Copies the checkpoint that is saved inside, after those before it: the library then
        deletes older ones. Where these could not be copied, this one is saved all the same."""
        mirror, failure = self._trainer.mirror, None
        try:
            if mirror:
                mirror.wait()
        except RunError as error:
            failure = error
        yield
        if failure:
            raise failure
        if mirror:
            mirror.commit(self.step, facts)

    def _roll_back(self, diverged: Diverged) -> None:
        """Goes back to the last checkpoint, and leaves out the batches since."""
        if self._run.on_nonfinite != "rollback":
            raise diverged
        if self._rollbacks == _MOST_ROLLBACKS:
            raise RunError(f"{diverged} ({_MOST_ROLLBACKS} rollbacks to step {self._saved} failed)")
        rollbacks, skipped = self._rollbacks + 1, self._skipped
        self._checkpoints.wait()
        self._restore()
        left_out = diverged.step - self.step
        self._rollbacks, self._skipped = rollbacks, skipped + left_out
        print(
            f"note: {not_finite(diverged.what, diverged.step, advice='')}; rolled back to step"
            f" {self.step}, leaving out the {left_out:,} batches since",
            file=sys.stderr,
        )
