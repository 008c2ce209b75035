"""The hash of the code that a run runs."""

import sys
import types
from functools import partial
from pathlib import Path

import pytest

import jaxmodels
from jaxmodels.train.source import reached, source_hash

ROOT = Path(jaxmodels.__file__).parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A script beside a package, as a user has them."""
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "used.py").write_text("def twice(x):\n    return 2 * x\n")
    (package / "unused.py").write_text("y = 1\n")
    (tmp_path / "script_of_a_user.py").write_text(
        '"""A script."""\n\n\ndef build(config):\n'
        "    from house.used import twice\n    return twice(config)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("script_of_a_user", None)


def _hash(project):
    from jaxmodels.train import source

    source._tree.cache_clear()
    source._normal_file.cache_clear()
    sys.modules.pop("script_of_a_user", None)
    import script_of_a_user

    return source_hash(script_of_a_user.build)


def _append(path, text):
    path.write_text(path.read_text() + text)


def test_code_that_is_imported_counts_and_other_code_does_not(project):
    before = _hash(project)
    _append(project / "house/unused.py", "z = 2\n")
    assert _hash(project) == before
    _append(project / "house/used.py", "w = 3\n")
    after = _hash(project)
    assert after != before
    _append(project / "script_of_a_user.py", "v = 4\n")
    assert _hash(project) not in (before, after)


def test_comments_docstrings_and_layout_do_not_count(project):
    before = _hash(project)
    (project / "house/used.py").write_text(
        '"""Twice."""\n\n# A comment.\ndef twice(x):\n    """Doubles."""\n\n    return 2  *  x\n'
    )
    assert _hash(project) == before


def test_scripts_reach_what_they_run_and_not_the_report():
    names = set(reached({"experiments.classifier": ROOT / "experiments/classifier.py"}))
    assert {
        "jaxmodels.train.loop",
        "jaxmodels.models.cnn",
        "jaxmodels.objectives.classifier",
    } < names
    assert {"jaxmodels.protocol", "jaxmodels.ops.convolution_cpu", "jaxmodels"} < names
    assert not any(name.startswith("jaxmodels.report") for name in names)
    for other in ("jaxmodels.models.ladder", "jaxmodels.models.dcgan", "jaxmodels.objectives.gan"):
        assert other not in names, other


def test_a_build_of_a_notebook_is_part_of_it():
    """Its functions stand in no file: their own code counts, and that of those they call."""

    def notebook(factor):
        module = types.ModuleType("__notebook__")
        module.__dict__["__name__"] = "__notebook__"
        sys.modules["__notebook__"] = module
        text = (
            "from jaxmodels import across\n"
            f"def helper(x):\n    return {factor} * x\n"
            "def build(config):\n    return across.average(helper(config))\n"
        )
        exec(compile(text, "<cell>", "exec"), module.__dict__)
        return module.build

    one, other, again = source_hash(notebook(2)), source_hash(notebook(3)), source_hash(notebook(2))
    assert one == again != other
    assert source_hash(partial(notebook(2), 5)) == one
    sys.modules.pop("__notebook__")
