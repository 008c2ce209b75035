"""The loop: what it writes, exact resumption, best and last, stopping, failing."""

import json
import logging
import os
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.train import Findings, configure, loop, modes
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.course import chunk_ends
from jaxmodels.train.run_folder import RunFolder
from tests.marks import slow
from tests.train.toys import CONFIG, experiment, predict, regression, train_toy, two_players


def _leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(_leaves(a), _leaves(b), strict=True))


def _lines(path, split=None):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if split in (None, line["split"])]


class _Stop(Exception):
    pass


def _interrupting(toy, step, kind):
    """The toy, interrupted after the evaluation of a step, before its checkpoint."""

    def after_evaluation(evaluation):
        if evaluation.step == step and kind == "crash":
            raise _Stop
        if evaluation.step == step:
            os.kill(os.getpid(), kind)

    return toy._replace(after_evaluation=after_evaluation)


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(regression(noise=0.1), id="one"),
        pytest.param(two_players(), id="two", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, objective):
    toy = experiment(objective)
    whole = train_toy(tmp_path / "whole", toy)
    with pytest.raises(_Stop):
        train_toy(tmp_path / "parts", _interrupting(toy, 20, "crash"))
    stopped = train_toy(tmp_path / "parts", _interrupting(toy, 40, signal.SIGTERM))
    assert (stopped.finished, stopped.step) == (False, 40)
    resumed = train_toy(tmp_path / "parts", toy)
    assert (resumed.finished, resumed.step) == (True, 60)
    assert _same(whole.state, resumed.state)
    texts = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert texts[0] == texts[1]


def test_what_is_written_and_when(drawn, tmp_path):
    train_toy(tmp_path, experiment(regression()))
    assert [line["step"] for line in _lines(tmp_path, "train")] == [8, 16, 24, 32, 40, 48, 56, 60]
    assert [line["step"] for line in _lines(tmp_path, "validation")] == [20, 40, 60]
    assert [line["step"] for line in _lines(tmp_path, "test")] == [60]
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["config"]["batch_size"] == 16
    assert record["environment"]["packages"]["jax"] == jax.__version__
    assert record["environment"]["device_count"] == jax.device_count()
    speeds = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speeds] == [8, 16, 24, 32, 40, 48, 56, 60]
    assert all(line["steps_per_second"] > 0 for line in speeds)
    assert speeds[0]["examples_per_second"] == pytest.approx(16 * speeds[0]["steps_per_second"])
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_without_validation_test_is_scored_at_every_evaluation(tmp_path):
    toy = experiment(regression())
    toy = toy._replace(evaluation={"test": toy.evaluation["test"]})
    train_toy(tmp_path, toy)
    assert [line["step"] for line in _lines(tmp_path, "test")] == [20, 40, 60]
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.last(), checkpoints.best()) == (60, 60)


def test_training_metrics_are_means_over_the_window(tmp_path):
    every = train_toy(tmp_path / "1", experiment(regression()), configure(CONFIG, log_every=1))
    train_toy(tmp_path / "8", experiment(regression()))
    single = [line["loss"] for line in _lines(tmp_path / "1", "train")]
    windows = [line["loss"] for line in _lines(tmp_path / "8", "train")]
    assert windows[0] == pytest.approx(np.mean(single[:8]), rel=1e-5)
    assert windows[-1] == pytest.approx(np.mean(single[56:]), rel=1e-5)
    assert every.step == 60


@pytest.mark.parametrize("eval_batch_size", [1, 16, 37, 500])
def test_evaluation_counts_every_example_once(tmp_path, eval_batch_size):
    toy = experiment(regression())
    config = configure(CONFIG, eval_batch_size=eval_batch_size, steps=2)
    state = train_toy(tmp_path, toy, config).state
    for split, size in (("validation", 37), ("test", 51)):
        columns = toy.evaluation[split].arrays
        outputs = columns["x"] @ state["params"]["w"] + state["params"]["b"]
        expected = np.mean((outputs - columns["y"]) ** 2)
        assert _lines(tmp_path, split)[-1]["loss"] == pytest.approx(float(expected), rel=1e-5)
        assert len(columns["y"]) == size


def test_predictions_are_of_all_examples_in_order(tmp_path):
    seen = {}
    toy = experiment(regression())
    toy = toy._replace(after_evaluation=lambda e: seen.update({e.split: (e.map(predict), e.state)}))
    train_toy(tmp_path, toy, configure(CONFIG, steps=2))
    for split, (outputs, state) in seen.items():
        x = toy.evaluation[split].arrays["x"]
        np.testing.assert_allclose(
            outputs, x @ state["params"]["w"] + state["params"]["b"], rtol=1e-5
        )


def test_best_and_last_two_are_kept(tmp_path):
    scores = {20: 1.0, 40: 3.0, 60: 2.0}
    toy = experiment(regression(), monitor="score")
    toy = toy._replace(after_evaluation=lambda e: Findings({"score": scores[e.step]}))
    train_toy(tmp_path, toy)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.best(), checkpoints.last()) == (40, 60)
    assert sorted(
        int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()
    ) == [40, 45, 60]
    config = configure(CONFIG, checkpoint="best")
    trainer = loop.Trainer(toy, config, RunFolder(tmp_path))
    restored = trainer.restored()
    assert (restored.step, int(restored.tree["state"]["step"])) == (40, 40)


def test_one_compilation_for_a_whole_run(tmp_path, caplog):
    """Chunks of many lengths, two evaluations, checkpoints: the step is compiled once."""
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        train_toy(tmp_path, experiment(regression()))
    compiled = [
        r.getMessage() for r in caplog.records if "Finished XLA compilation" in r.getMessage()
    ]
    assert sum("jit(chunk)" in message for message in compiled) == 1
    assert sum("jit(add_sums)" in message for message in compiled) == 2  # validation and test


def test_chunks_end_where_the_periods_say_whatever_the_start():
    whole = list(chunk_ends(CONFIG, 0, longest=6))
    assert {8, 15, 16, 20, 24, 30, 40, 45, 60} <= set(whole)
    assert max(np.diff([0, *whole])) <= 6
    for start in whole:
        assert list(chunk_ends(CONFIG, start, longest=6)) == [end for end in whole if end > start]


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_dispatch", [1, slow(7), slow(1000)])
def test_the_length_of_a_dispatch_changes_no_bit(tmp_path, steps_per_dispatch):
    toy = experiment(regression(noise=0.1))
    a = train_toy(tmp_path / "a", toy)
    config = configure(CONFIG, steps_per_dispatch=steps_per_dispatch)
    assert _same(a.state, train_toy(tmp_path / "b", toy, config).state)


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_a_longer_one_extends_it(tmp_path):
    asked = []

    def require(sources):
        asked.append((sorted(sources), (tmp_path / "a").exists()))

    toy = experiment(regression(), require_scorable=require)
    train_toy(tmp_path / "a", toy)
    before = (tmp_path / "a" / "metrics.jsonl").read_bytes()
    again = train_toy(tmp_path / "a", toy)
    assert (again.trained, again.step) == (False, 60)
    # What the scores need is asked for before anything is written, and not for a finished run.
    assert asked == [(["test", "validation"], False)]
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == before
    longer = configure(CONFIG, steps=100)
    assert _same(
        train_toy(tmp_path / "a", toy, longer).state, train_toy(tmp_path / "b", toy, longer).state
    )
    with pytest.raises(InputError, match=r"steps = 60; the run in .* is at 100"):
        train_toy(tmp_path / "a", toy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 208}, "batch_size = 208; expected at most the 203"),
        ({"batch_size": 20}, "batch_size = 20; expected a multiple of the 8 devices, as 16"),
        ({"mesh": "data=9"}, "mesh = 'data=9'; expected at most the 8 devices"),
        ({"mesh": "heads=2"}, "mesh = 'heads=2'; expected data=N"),
    ],
)
def test_numbers_that_do_not_fit_are_named_and_nothing_is_written(tmp_path, changes, message):
    if jax.device_count() != 8:
        pytest.skip("needs 8 devices")
    with pytest.raises(InputError, match=message):
        train_toy(tmp_path / "run", experiment(regression()), configure(CONFIG, **changes))
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_fails_and_keeps_its_last_checkpoint(tmp_path):
    objective = regression()

    def step(state, batch, key):
        state, sums = objective.step(state, batch, key)
        bad = jnp.where(state["step"] > 33, jnp.inf, 0.0)
        state = {**state, "params": jax.tree.map(lambda p: p + bad, state["params"])}
        return state, sums

    with pytest.raises(RunError, match="not finite by step"):
        train_toy(tmp_path, experiment(objective._replace(step=step)))
    assert Checkpoints(tmp_path / "checkpoints").last() == 30
    assert _lines(tmp_path)[-1]["loss"] is None
    assert all(np.isfinite(line["loss"]) for line in _lines(tmp_path)[:-1])


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    objective = regression()

    def step(state, batch, key):
        state, sums = objective.step(state, batch, key)
        return {**state, "params": jax.tree.map(lambda p: p * jnp.nan, state["params"])}, sums

    config = configure(CONFIG, steps=1)
    with pytest.raises(RunError, match="the state is not finite by step 1"):
        train_toy(tmp_path, experiment(objective._replace(step=step)), config)
    assert Checkpoints(tmp_path / "checkpoints").last() is None


def test_samples_are_drawn_by_count_and_seed(tmp_path):
    toy = experiment(two_players())
    train_toy(tmp_path / "run", toy)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    config = configure(CONFIG, mode="sample", count=37, output=str(tmp_path / "s.npz"))
    modes.sample(toy, config, RunFolder(tmp_path / "run"))
    with np.load(tmp_path / "s.npz") as file:
        images = file["images"]
    assert images.shape == (37,)
    assert len(np.unique(images)) == 37
    modes.sample(toy, config, RunFolder(tmp_path / "run"))
    with np.load(tmp_path / "s.npz") as file:
        np.testing.assert_array_equal(images, file["images"])
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(InputError, match="output = None"):
        modes.sample(toy, configure(config, output=None), RunFolder(tmp_path / "run"))
    with pytest.raises(InputError, match="nothing to sample"):
        modes.sample(experiment(regression()), config, RunFolder(tmp_path / "run"))
    with pytest.raises(InputError, match="no checkpoint"):
        modes.sample(toy, config, RunFolder(tmp_path / "empty"))


def test_evaluate_gives_the_scores_of_the_run_and_writes_nothing(tmp_path):
    toy = experiment(regression())
    train_toy(tmp_path, toy)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    line = modes.evaluate(toy, CONFIG, RunFolder(tmp_path))
    assert f"test/loss={_lines(tmp_path, 'test')[-1]['loss']:.5g}" in line
    assert f"validation/loss={_lines(tmp_path, 'validation')[-1]['loss']:.5g}" in line
    assert before == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()
    }


@pytest.mark.slow
def test_debug_names_what_is_not_finite(tmp_path):
    objective = regression()

    def step(state, batch, key):
        with jax.named_scope("strange_layer"):
            root = jnp.sqrt(jnp.where(state["step"] == 3, -1.0, 1.0))
        state, sums = objective.step(state, batch, key)
        return {**state, "params": jax.tree.map(lambda p: p * root, state["params"])}, sums

    with pytest.raises(
        RunError, match=r"step 3 is not finite: strange_layer, forward pass: 'sqrt'"
    ):
        modes.debug(experiment(objective._replace(step=step)), CONFIG, RunFolder(tmp_path))
    fine = modes.debug(experiment(objective), CONFIG, RunFolder(tmp_path))
    assert fine == "steps 0..14 are finite in state and metrics"
    assert not list(tmp_path.iterdir())


def test_of_equal_scores_the_last_is_best(tmp_path):
    toy = experiment(regression(), monitor="score")
    toy = toy._replace(after_evaluation=lambda e: Findings({"score": min(e.step, 40)}))
    train_toy(tmp_path, toy)
    assert Checkpoints(tmp_path / "checkpoints").best() == 60


@pytest.mark.parametrize("monitor", ["score", "accuracy"])
def test_a_monitor_that_is_not_there_is_an_error(tmp_path, monitor):
    with pytest.raises(ValueError, match=f"monitor = {monitor}; expected"):
        train_toy(tmp_path, experiment(regression(), monitor=monitor))


def test_a_score_that_is_not_declared_is_an_error(tmp_path):
    toy = experiment(regression(), after_evaluation=lambda e: Findings({"luck": 1.0}))
    with pytest.raises(ValueError, match=r"\['luck'\] are not declared"):
        train_toy(tmp_path, toy)


def test_a_program_that_is_not_as_it_must_be_is_refused_before_anything_is_written(tmp_path):
    seen = []

    def refuse(text):
        seen.append(text)
        raise RunError("attention = cudnn; the compiled program has none")

    with pytest.raises(RunError, match="attention = cudnn"):
        train_toy(tmp_path / "run", experiment(regression(), verify=refuse))
    assert "HloModule" in seen[0] and not (tmp_path / "run").exists()


def test_a_step_that_does_not_count_is_an_error(tmp_path):
    objective = regression()

    def step(state, batch, key):
        after, sums = objective.step(state, batch, key)
        return {**after, "step": state["step"]}, sums

    with pytest.raises(ValueError, match=r"must add 1 to it"):
        train_toy(tmp_path, experiment(objective._replace(step=step)))


def test_a_stopped_run_names_the_step_of_its_scores(tmp_path):
    toy = experiment(regression())
    config = configure(CONFIG, eval_every=25)

    def stop(step, split, scores):
        if step == 32:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not train_toy(tmp_path, toy._replace(describe=stop), config).finished
    summary = RunFolder(tmp_path).summary(40)
    assert re.match(r"step=40 validation/step=25 validation/loss=\d", summary)
    assert (tmp_path / "curves.png").exists()
