"""Where a run comes from: how it was started, and whether the commit has its code."""

import importlib.util
import subprocess
import sys
import types

import numpy as np
import pytest

from experiments import classifier
from jaxmodels.data.images import images_from_arrays
from jaxmodels.errors import InputError
from jaxmodels.train import configure, environment, train
from jaxmodels.train.origin import call_of, program_of, was_given_data
from jaxmodels.train.source import files_of


def _program(monkeypatch, **names):
    module = types.ModuleType("__main__")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return program_of(classifier.build)


def test_the_program_is_named_as_it_was_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_loader("lab.mine", None)
    package = importlib.util.spec_from_loader("lab.__main__", None)
    assert _program(monkeypatch, __spec__=spec) == "python -m lab.mine"
    assert _program(monkeypatch, __spec__=package) == "python -m lab"
    assert _program(monkeypatch, __file__=str(tmp_path / "my lab/a.py")) == "python 'my lab/a.py'"
    assert _program(monkeypatch, __file__="/elsewhere/a.py") == "python /elsewhere/a.py"
    assert _program(monkeypatch) is None  # a notebook
    assert program_of(classifier.build, ["--steps", "3"]) == "python -m experiments.classifier"


def test_a_call_is_no_command(monkeypatch):
    assert _program(monkeypatch) is None
    call = call_of(classifier.build, True)
    assert call == "from a notebook: train(build, config, data)"
    assert was_given_data({"command": call})
    assert not was_given_data({"command": call_of(classifier.build, False)})
    assert not was_given_data({"command": "python -m experiments.classifier"})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A package in a repository of its own, with one commit."""

    def git(*words):
        named = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "house").mkdir()
    (tmp_path / "house/a.py").write_text("x = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(environment, "_ROOT", tmp_path / "house")
    return tmp_path


def test_a_commit_that_lacks_a_file_of_the_code_says_so(repository, tmp_path_factory):
    def commit(*files):
        return environment.environment(files)["git_commit"]

    known, new = repository / "house/a.py", repository / "mine.py"
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "b.py"
    for path in (new, elsewhere):
        path.write_text("y = 2\n")
    assert not commit().endswith("+") and not commit(known).endswith("+")
    assert commit(known, new).endswith("+")
    assert commit(elsewhere).endswith("+")
    known.write_text("x = 2\n")
    assert commit(known).endswith("+")


def test_the_files_of_a_script_are_those_that_it_reaches():
    files = files_of(classifier.build)
    assert {"classifier.py", "loop.py", "image_data.py"} <= {path.name for path in files}
    names = {"__name__": "of_a_notebook"}
    exec(compile("def build(config): return 1", "<cell 1>", "exec"), names)
    assert str(files_of(names["build"])[0]) == "<cell 1>"


@pytest.mark.slow
def test_data_that_were_given_name_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = {"image": np.zeros((8, 4, 4, 1), np.uint8), "label": np.arange(8) % 2}
    flags = {"model": "mlp", "hidden": [4], "steps": 1, "batch_size": 8, "mesh": "data=1"}
    config = configure(classifier.ClassifierConfig(), **flags)
    with pytest.raises(InputError, match="data is a dict; expected images_from_arrays"):
        train(classifier.build, config, {"train": split})
    assert not list(tmp_path.iterdir())
    data = images_from_arrays({"train": split, "test": split})
    result = train(classifier.build, config, data)
    assert str(result.workdir).startswith("runs/classifier/arrays-mlp-0-")
    # A name that the config gives stays.
    result = train(classifier.build, configure(config, data="./mine"), data)
    assert str(result.workdir).startswith("runs/classifier/mine-mlp-0-")
