"""The list of experiments: python -m jaxmodels."""

import importlib

import pytest

from jaxmodels import __main__ as listing
from jaxmodels.roles import Role
from jaxmodels.train.config import flags_of
from tests.marks import slow_but


def test_scripts_are_listed_with_their_first_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "bare.py").write_text("main(1)\n")
    (tmp_path / "told.py").write_text('"""Train something.\n\nMore."""\nmain(1)\n')
    (tmp_path / "empty.py").write_text('""""""\nmain(1)\n')
    (tmp_path / "helper.py").write_text("x = 1\n")
    monkeypatch.setattr(listing, "_EXPERIMENTS", tmp_path)
    found = [("bare", ""), ("empty", ""), ("told", "Train something.")]
    assert list(listing.experiments()) == found
    assert listing.main() == 0
    assert "bare" in capsys.readouterr().out


RUN = "steps batch_size seed workdir mode input output format count init_from parallel mesh shard"
RUN += " coordinator processes process_id eval_every checkpoint_every log_every overwrite debug"
RUN += " accept_code_change data data_dir model learning_rate optimizer schedule weight_decay clip"
RUN += " ema freeze remat precision accumulate repeat mirror profile patience keep on_nonfinite"


@pytest.mark.parametrize("name", slow_but("table", [name for name, _ in listing.experiments()]))
def test_every_experiment_has_the_flags_of_all(name):
    script = importlib.import_module(f"experiments.{name}")
    configs = [each for each in vars(script).values() if getattr(each, "experiment", "") == name]
    flags = flags_of(configs[0]())
    assert set(RUN.split()) <= flags.keys()
    # What says how a run is carried out does not make it another run.
    assert {flags[flag].role for flag in ("remat", "data_dir", "mesh")} <= {Role.BITS, Role.HOW}
