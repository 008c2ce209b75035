"""What a run does when something goes wrong on its way: nothing is lost, nothing is hidden."""

import json
import shutil
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.train import Config, Findings, RunConfig, Section, configure
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.run_folder import RunFolder
from tests.marks import slow
from tests.train.toys import CONFIG, experiment, regression, train_toy


class _Killed(BaseException):
    """What no handler of errors catches, as SIGKILL."""


def _metrics(path):
    return (path / "metrics.jsonl").read_bytes()


def _same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    path = tmp_path_factory.mktemp("whole")
    return path, train_toy(path, experiment(regression())).state


def _fails_at(step, split="test", error=ValueError):
    def after_evaluation(evaluation):
        if (evaluation.step, evaluation.split) == (step, split):
            raise error("a title with $")

    return experiment(regression(), after_evaluation=after_evaluation)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "split"), [(40, "validation"), slow(60, "test")])
def test_an_evaluation_that_fails_loses_no_step_and_is_made_again(tmp_path, whole, step, split):
    for _ in range(2):
        with pytest.raises(ValueError, match="a title"):
            train_toy(tmp_path, _fails_at(step, split))
        assert Checkpoints(tmp_path / "checkpoints").last() == step
    mended = train_toy(tmp_path, experiment(regression()))
    assert (mended.step, mended.trained) == (60, True)
    assert _metrics(tmp_path) == _metrics(whole[0])
    assert _same(mended.state, whole[1])
    assert Checkpoints(tmp_path / "checkpoints").best() == 60
    assert not train_toy(tmp_path, experiment(regression())).trained


def test_a_picture_that_cannot_be_drawn_is_left_out(drawn, tmp_path, whole, capsys):
    def title():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.suptitle(r"$\euro$")
        return figure

    toy = experiment(regression(), after_evaluation=lambda _: Findings(pictures={"grid": title}))
    assert train_toy(tmp_path, toy).step == 60
    assert "note: picture grid.png could not be drawn" in capsys.readouterr().err
    assert _metrics(tmp_path) == _metrics(whole[0])


def test_damage_to_the_newest_checkpoint_repeats_steps(tmp_path, whole, capsys):
    toy = experiment(regression())
    with pytest.raises(_Killed):
        train_toy(tmp_path, _fails_at(60, "validation", _Killed))
    shutil.rmtree(tmp_path / "checkpoints" / "45" / "default" / "d")
    resumed = train_toy(tmp_path, toy)
    said = capsys.readouterr().err
    assert "checkpoints/45 is damaged" in said and "step 40: 5 steps are repeated" in said
    assert _metrics(tmp_path) == _metrics(whole[0])
    assert _same(resumed.state, whole[1])


@pytest.mark.parametrize("name", ["metrics.jsonl", slow("evaluation.json"), slow("config.json")])
def test_a_damaged_file_of_a_run_is_mended(tmp_path, whole, name):
    toy = experiment(regression(), after_evaluation=lambda e: Findings(record={"at": e.step}))
    with pytest.raises(_Killed):
        train_toy(tmp_path, _fails_at(60, "validation", _Killed))
    (tmp_path / name).write_bytes(b"\xff\x00 not what was written")
    train_toy(tmp_path, toy)
    assert _metrics(tmp_path) == _metrics(whole[0])
    kept = json.loads((tmp_path / "evaluation.json").read_text())
    assert kept["validation"] == {"at": 60}
    assert RunFolder(tmp_path).record()["config"]["steps"] == 60


def test_a_finished_run_mends_its_lines(tmp_path, whole):
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 60, "split": "test", "loss": 0}\n')
    assert not train_toy(tmp_path / "run", experiment(regression())).trained
    assert _metrics(tmp_path / "run") == _metrics(whole[0])


def test_a_run_that_was_taken_over_before_the_lock_is_refused(tmp_path, monkeypatch):
    """Between the first look at the folder and the lock another process trains another run."""
    locked = RunFolder.locked

    def late(folder):
        monkeypatch.setattr(RunFolder, "locked", locked)
        train_toy(tmp_path, experiment(regression()), configure(CONFIG, seed=7))
        return locked(folder)

    monkeypatch.setattr(RunFolder, "locked", late)
    with pytest.raises(InputError, match="holds another run: seed 7 -> 0"):
        train_toy(tmp_path, experiment(regression()))
    assert RunFolder(tmp_path).record()["config"]["seed"] == 7


def _poisoned(bad):
    """Regression whose parameters are not finite after the batches of some steps."""
    objective = regression(noise=0.1)

    def step(state, batch, key):
        # Batches are told apart by the key, which moves on with what is left out.
        new, sums = objective.step(state, batch, key)
        keys = jnp.stack([jax.random.key_data(jax.random.fold_in(ROOT, at)) for at in bad])
        poison = jnp.any(jnp.all(keys == jax.random.key_data(key), axis=-1))
        params = jax.tree.map(lambda p: jnp.where(poison, jnp.nan, p), new["params"])
        return {**new, "params": params}, sums

    return experiment(objective._replace(step=step))


ROOT = jax.random.split(jax.random.key(0), 4)[1]


@pytest.mark.slow
def test_a_rollback_leaves_out_the_batches_since_the_checkpoint(tmp_path, capsys):
    toy = _poisoned([33])
    with pytest.raises(RunError, match=r"not finite by step \d+.*--on-nonfinite rollback"):
        train_toy(tmp_path / "stop", toy)
    config = configure(CONFIG, on_nonfinite="rollback")
    result = train_toy(tmp_path / "back", toy, config)
    assert result.step == 60 and np.isfinite(result.state["params"]["w"]).all()
    assert "rolled back to step 30, leaving out the 10 batches since" in capsys.readouterr().err
    assert Checkpoints(tmp_path / "back" / "checkpoints").facts(60).skipped == 10
    # Killed after the rollback, it comes to the same end.
    with pytest.raises(_Killed):
        dies = _fails_at(60, "validation", _Killed).after_evaluation
        train_toy(tmp_path / "killed", toy._replace(after_evaluation=dies), config)
    again = train_toy(tmp_path / "killed", toy, config)
    assert _same(again.state, result.state)
    assert _metrics(tmp_path / "killed") == _metrics(tmp_path / "back")


@pytest.mark.slow
def test_rollbacks_end_where_nothing_helps(tmp_path):
    objective = regression()

    def step(state, batch, key):
        new, sums = objective.step(state, batch, key)
        poison = jnp.where(new["step"] > 20, jnp.nan, 0)
        return {**new, "params": jax.tree.map(lambda p: p + poison, new["params"])}, sums

    toy = experiment(objective._replace(step=step))
    config = configure(CONFIG, on_nonfinite="rollback")
    with pytest.raises(RunError, match="10 rollbacks to step 20 failed"):
        train_toy(tmp_path, toy, config)


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path, capsys):
    config = configure(CONFIG, on_nonfinite="skip")
    result = train_toy(tmp_path, _poisoned([33, 35]), config)
    assert result.step == 60 and np.isfinite(result.state["params"]["w"]).all()
    assert int(result.state["optimizer"][0].count) == 58
    assert "2 of the 8 steps before step 40 were not finite" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert {line["step"]: line.get("skipped") for line in lines}[40] == 2


@dataclass(frozen=True, kw_only=True)
class _Carving(Config):
    run: Section[RunConfig] = configure(CONFIG, steps=8).run
    validation_fraction: float = 0.0


def test_a_run_that_holds_nothing_out_is_told_the_flag(tmp_path, capsys):
    train_toy(tmp_path, experiment(regression(), evaluation={}), _Carving())
    assert "so nothing but training is scored; --validation-fraction 0.1" in capsys.readouterr().err


def test_every_line_of_training_has_the_checksum_of_its_state(tmp_path, whole):
    train_toy(tmp_path, experiment(regression()), configure(CONFIG, steps_per_dispatch=3))
    both = []
    for path in (tmp_path, whole[0]):
        lines = [json.loads(line) for line in (path / "speed.jsonl").read_text().splitlines()]
        both.append([(line["step"], line["state"]) for line in lines])
    assert both[0] == both[1]
    assert len({state for _, state in both[0]}) == len(both[0]) == 8
