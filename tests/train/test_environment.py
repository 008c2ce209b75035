"""The settings on which numbers depend are recorded, and a run under others says so."""

import json

import jax
import pytest

from jaxmodels.errors import InputError
from jaxmodels.run_record import seal_record
from jaxmodels.train import configure, train
from jaxmodels.train.environment import changed_bits, environment, settings
from tests.train.toy_script import ToyConfig, build


def test_flags_of_xla_count_where_numbers_depend_on_them(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_b=1 --xla_a=2 --xla_b=3")
    then = settings()
    assert then["XLA_FLAGS"] == "--xla_a=2 --xla_b=3"
    others = " --xla_force_host_platform_device_count=2 --xla_dump_to=somewhere"
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=2 --xla_b=3" + others)
    assert settings() == then


def test_each_difference_is_named_and_what_was_not_recorded_is_none():
    now = environment()
    assert changed_bits(now, now) == []
    other = json.loads(json.dumps(now))
    other["packages"]["jax"] = "0.0"
    other["settings"] |= {"jax_default_prng_impl": "rbg", "XLA_FLAGS": "--xla_a=1"}
    flags = now["settings"]["XLA_FLAGS"] or "unset"
    assert changed_bits(other, now) == [
        f"jax 0.0 -> {now['packages']['jax']}",
        "jax_default_prng_impl rbg -> threefry2x32",
        f"XLA_FLAGS --xla_a=1 -> {flags}",
    ]
    old = {name: value for name, value in now.items() if name != "settings"}
    assert changed_bits(old, now) == []
    assert changed_bits({}, now) == []


def test_resuming_under_other_settings_says_so(tmp_path, capsys):
    config = configure(ToyConfig(), workdir=str(tmp_path), steps=4)
    train(build, config)
    path = tmp_path / "config.json"
    record = json.loads(path.read_text())
    assert record["environment"]["settings"]["jax_enable_x64"] == "False"
    record["environment"]["settings"]["jax_enable_x64"] = "True"
    path.write_text(json.dumps(seal_record(record)))
    capsys.readouterr()
    train(build, configure(config, steps=6))
    note = "note: jax_enable_x64 True -> False since the run began; bits may differ"
    assert note in capsys.readouterr().err


def test_a_state_of_other_widths_is_refused_by_the_variable(tmp_path):
    config = configure(ToyConfig(), workdir=str(tmp_path), steps=4)
    train(build, config)
    with jax.enable_x64(True), pytest.raises(InputError, match=r"float64.*JAX_ENABLE_X64"):
        train(build, configure(config, steps=6))
