"""The run that --overwrite replaces is there until the new one has saved something."""

import os
import shutil
from pathlib import Path

import pytest

from jaxmodels.train import configure, loop
from jaxmodels.train.program import TrainProgram
from jaxmodels.train.progress import Interruption
from jaxmodels.train.run_folder import RunFolder
from tests.train.toys import CONFIG, experiment, regression, train_toy

NEW = configure(CONFIG, batch_size=32, steps=10, overwrite=True)


class _Killed(BaseException):
    """What no handler of errors catches, as SIGKILL."""


def _contents(folder):
    """The files that make a run, without those that say when and how fast."""
    without = ("status.json", "speed.jsonl", "goodput.json", ".lock", "report.html", "curves.png")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without and "tensorboard" not in path.parts
        if not path.name.endswith(".partial")
    }


def test_a_new_run_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    train_toy(tmp_path, experiment(regression()))
    before = _contents(tmp_path)

    def fail(*_):
        raise MemoryError("12 bytes")

    monkeypatch.setattr(TrainProgram, "run", fail)
    with pytest.raises(MemoryError):
        train_toy(tmp_path, experiment(regression()), NEW)
    monkeypatch.undo()
    assert _contents(tmp_path) == before
    assert not train_toy(tmp_path, experiment(regression())).trained


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What an old and a new run hold that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs")
    train_toy(folder / "old", experiment(regression()))
    train_toy(folder / "new", experiment(regression()), NEW)
    return folder


def _metrics(folder):
    return (folder / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_killed_at_any_change_of_a_name_the_same_command_goes_on(tmp_path, runs, monkeypatch):
    """Before each renaming, removing and making of a file in turn the process dies."""

    # Only what happens before the first step matters here.
    def begin(self, begin, interruption):
        begin()
        return loop.Result({}, 0, {}, self.folder.path, False, True)

    def overwrite(folder):
        trainer = loop.Trainer(experiment(regression()), NEW, RunFolder(folder))
        with trainer.folder.locked():
            loop._train_locked(trainer, Interruption(), "code")

    monkeypatch.setattr(loop.Trainer, "train", begin)
    reached = 0
    for kill_at in range(200):
        folder = tmp_path / str(kill_at)
        shutil.copytree(runs / "old", folder)
        with monkeypatch.context() as patch:
            count = _dying(patch, kill_at)
            try:
                overwrite(folder)
            except _Killed:
                reached += 1
            else:
                assert count() <= kill_at
                break
        # Without --overwrite it is the old run, whole, or the new one, which has a record.
        with RunFolder(folder).locked():
            RunFolder(folder).recover()
        record = RunFolder(folder).record()
        assert record["config"]["batch_size"] in (16, 32)
        if record["config"]["batch_size"] == 16:
            assert _contents(folder) == _contents(runs / "old"), kill_at
        overwrite(folder)
        assert RunFolder(folder).record()["config"]["batch_size"] == 32
    assert reached > 10


def _dying(patch, kill_at):
    calls = 0

    def dying(function):
        def call(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls > kill_at:
                raise _Killed
            return function(*arguments, **named)

        return call

    for owner, name in [
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "mkdir"),
        (Path, "rmdir"),
        (os, "replace"),
        (shutil, "rmtree"),
    ]:
        patch.setattr(owner, name, dying(getattr(owner, name)))
    return lambda: calls


def test_the_old_run_goes_when_the_new_one_has_saved(tmp_path, runs):
    shutil.copytree(runs / "old", tmp_path / "run")
    train_toy(tmp_path / "run", experiment(regression()), NEW)
    assert _metrics(tmp_path / "run") == _metrics(runs / "new")
    assert not (tmp_path / "run" / ".replaced").exists()
    names = [
        {path.name for path in (folder / "checkpoints").iterdir()}
        for folder in (tmp_path / "run", runs / "new")
    ]
    assert names[0] == names[1]
