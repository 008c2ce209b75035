"""The run folder: whose it is, what may be deleted in it, and what a kill leaves usable."""

import json
import shutil
from typing import ClassVar

import jax.numpy as jnp
import pytest

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.train import configure, modes
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.tensorboard import FILE as EVENTS
from tests.marks import campaign, slow
from tests.train.toys import CONFIG, experiment, regression, train_toy


def test_another_run_in_the_folder_is_refused_by_field(tmp_path):
    toy = experiment(regression())
    train_toy(tmp_path, toy)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="batch_size 16 -> 32"):
        train_toy(tmp_path, toy, configure(CONFIG, batch_size=32))
    with pytest.raises(InputError, match=r"the code changed.*--accept-code-change"):
        train_toy(tmp_path, toy, source="edited")
    with pytest.raises(InputError, match="data changed"):
        train_toy(tmp_path, toy._replace(facts={"data": {"name": "other"}}))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    accepted = configure(CONFIG, accept_code_change=True)
    assert not train_toy(tmp_path, toy, accepted, source="edited").trained
    anew = configure(CONFIG, batch_size=32, overwrite=True)
    assert train_toy(tmp_path, toy, anew).step == 60
    assert json.loads((tmp_path / "config.json").read_text())["config"]["batch_size"] == 32


def test_data_known_by_an_older_fingerprint_are_the_same(tmp_path):
    """A run from before content was hashed goes on with its data, as far as that can tell."""

    class Facts(dict):
        older: ClassVar = {"name": "x", "fingerprint": "by time", "splits": {"train": 3}}

    def check(then, now):
        folder._check_facts({"data": then}, {"data": now})

    folder = RunFolder(tmp_path)
    now = Facts(Facts.older, fingerprint="by content")
    check(dict(now), now)
    check(dict(Facts.older), now)
    check(dict(Facts.older, name="renamed"), now)
    for other in ({"fingerprint": "another"}, {"splits": {"train": 4}}):
        with pytest.raises(InputError, match="data changed since the run began"):
            check(dict(Facts.older, **other), now)
    with pytest.raises(InputError, match="data changed"):
        folder._check_facts({}, {"data": now})


@pytest.mark.slow
def test_overwrite_leaves_what_no_run_wrote(tmp_path):
    train_toy(tmp_path / "run", experiment(regression()))
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train_toy(tmp_path / "run", experiment(regression()), configure(CONFIG, overwrite=True))
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="no run folder and not empty"):
        train_toy(
            tmp_path / "other",
            experiment(regression()),
            configure(CONFIG, overwrite=True),
        )


@pytest.mark.slow
def test_overwrite_clears_the_report_and_the_events_of_the_run_before(tmp_path):
    train_toy(tmp_path, experiment(regression()))
    written = [tmp_path / "report.html", tmp_path / "tensorboard" / "old" / EVENTS]
    kept = tmp_path / "tensorboard" / "old" / "events.out.tfevents.mine"
    kept.parent.mkdir(parents=True, exist_ok=True)
    for path in (*written, kept):
        path.write_text("before")
    anew = configure(CONFIG, batch_size=32, steps=10, overwrite=True)
    train_toy(tmp_path, experiment(regression()), anew)
    for path in written:
        assert not path.exists() or path.read_text(errors="replace") != "before"
    assert kept.read_text() == "before"


def test_the_record_says_how_to_make_the_run_again(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_record(CONFIG, "code", {}, {}, monitor=("loss", "min"), scores={})
    record = folder.record()
    assert record["command"].startswith("python -m experiments.experiment --steps 60 ")
    assert record["monitor"] == ["loss", "min"]
    # Of a run from before commands were recorded.
    new = ("format", "command", "monitor", "scores")
    old = {name: value for name, value in record.items() if name not in new}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert folder.record() == old
    folder.check(old, CONFIG, "code", {})


def test_two_processes_cannot_share_a_folder(tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(InputError, match="another process"):
        train_toy(tmp_path, experiment(regression()))


@pytest.mark.slow
def test_reading_checkpoints_touches_nothing_that_another_process_is_saving(tmp_path):
    toy = experiment(regression())
    train_toy(tmp_path, toy)
    half_saved = tmp_path / "checkpoints" / "75.orbax-checkpoint-tmp"
    half_saved.mkdir()
    modes.evaluate(toy, CONFIG, RunFolder(tmp_path))
    assert not train_toy(tmp_path, toy).trained
    assert half_saved.exists()
    train_toy(tmp_path, toy, configure(CONFIG, steps=70))
    assert not half_saved.exists()


def test_a_kill_while_a_run_begins_leaves_a_folder_that_can_be_used(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.partial").write_text("{")
    assert train_toy(tmp_path, experiment(regression()), configure(CONFIG, steps=2)).trained


def test_a_folder_with_another_config_json_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    (tmp_path / "checkpoints").mkdir()
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not the record of a run"):
            config = configure(CONFIG, overwrite=overwrite)
            train_toy(tmp_path, experiment(regression()), config)
    assert (tmp_path / "config.json").read_text() == '{"architectures": ["Bert"]}'
    assert (tmp_path / "checkpoints").is_dir()


@pytest.mark.slow
def test_overwrite_keeps_what_others_put_into_the_folders(tmp_path):
    train_toy(tmp_path, experiment(regression()))
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "mine.png").write_text("mine")
    anew = configure(CONFIG, batch_size=32, steps=10, overwrite=True)
    assert train_toy(tmp_path, experiment(regression()), anew).step == 10
    steps = [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert steps == ["10"]
    assert (tmp_path / "samples" / "mine.png").read_text() == "mine"
    assert not (tmp_path / ".replaced").exists()


@pytest.mark.parametrize(
    "name", ["checkpoints", campaign("samples"), campaign(".lock"), slow("metrics.jsonl")]
)
def test_a_part_of_a_run_that_is_a_link_is_refused(tmp_path, name):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    train_toy(run, experiment(regression()))
    mine = elsewhere if name == ".lock" or "." in name else elsewhere / "3"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    if (run / name).exists():
        (run / name).rename(tmp_path / "moved")
    (run / name).symlink_to(elsewhere)
    for overwrite in (False, True):
        config = configure(CONFIG, steps=80, overwrite=overwrite)
        with pytest.raises(InputError, match=f"{name} is a link"):
            train_toy(run, experiment(regression()), config)
    assert mine.read_text() == "mine"


def test_a_checkpoint_of_other_code_changes_nothing(tmp_path):
    train_toy(tmp_path, experiment(regression()))
    before = (tmp_path / "config.json").read_bytes(), (tmp_path / "metrics.jsonl").read_bytes()
    objective = regression()

    def init(key, spec, hyperparameters):
        state = objective.init(key, spec, hyperparameters)
        return {**state, "more": jnp.zeros(3)}

    longer = configure(CONFIG, steps=80, accept_code_change=True)
    with pytest.raises(InputError, match="does not fit this code"):
        train_toy(tmp_path, experiment(objective._replace(init=init)), longer, source="edited")
    after = (tmp_path / "config.json").read_bytes(), (tmp_path / "metrics.jsonl").read_bytes()
    assert before == after


def test_folders_that_a_run_made_before_its_record_are_no_obstacle(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".config.json.partial").write_text("{")
    assert RunFolder(tmp_path).record() is None
    (tmp_path / "checkpoints" / "mine").write_text("a")
    with pytest.raises(InputError, match="not empty"):
        RunFolder(tmp_path).record()


def test_lines_that_no_run_writes_are_not_read(tmp_path):
    good = {"step": 2, "split": "validation", "loss": 0.5}
    lines = [good, {"step": 3}, good | {"loss": "x"}, good | {"step": "4"}, {**good, "split": 1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = RunFolder(tmp_path)
    assert folder.lines() == [good] and folder.best(("loss", "min")) == (-0.5, 2)
    assert folder.best(("accuracy", "max")) is None
    folder.restore(3, None)
    assert folder.lines() == [good]


def test_a_run_at_its_last_step_whose_record_is_not_of_a_finished_one_ends(tmp_path):
    """Nothing is left to be read, and no source is asked for it."""

    class Source(Resident):
        def send(self, order, spans, length):
            assert list(spans), "no steps"
            return super().send(order, spans, length)

    toy = experiment(regression())
    toy = toy._replace(train=Source(toy.train.arrays))
    train_toy(tmp_path, toy)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    # As a kill leaves it before the run that was replaced is removed.
    (tmp_path / ".replaced").mkdir()
    shutil.copy(tmp_path / "config.json", tmp_path / ".replaced")
    assert train_toy(tmp_path, toy).step == 60
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
