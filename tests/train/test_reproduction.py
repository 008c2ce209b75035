"""The recorded command makes the same run."""

import shlex
from dataclasses import dataclass, replace

import pytest
from jaxmodels.train.reproduction import command_of

from jaxmodels.train.command import parse
from jaxmodels.train.config import TrainConfig, identity


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    experiment = "toy"

    hidden: tuple[int, ...] = ()
    names: tuple[str, ...] = ("crop",)
    conditional: bool = True
    rate: float = 1e-3
    norm: str = "batch"
    limit: float | None = None


CONFIGS = [
    Config(),
    Config(hidden=(64, 32), conditional=False, rate=3e-7, batch_size=32),
    Config(names=(), limit=0.5, norm=""),
    Config(rate=-1e-5, norm="-x", names=("two words", "$HOME", "it's", "a;b")),
    Config(preset="quick", data="my data", data_dir="/some where/$x", steps=5, eval_every=7),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_command_is_the_config(config):
    words = shlex.split(command_of(config))
    assert words[:3] == ["python", "-m", "experiments.toy"]
    assert parse(Config, {}, words[3:]) == replace(config, preset="")


def test_only_what_differs_from_the_defaults_is_in_it():
    assert command_of(Config()) == "python -m experiments.toy"
    config = Config(conditional=False, hidden=(8, 4), workdir="here", overwrite=True, mode="sample")
    assert command_of(config) == "python -m experiments.toy --hidden 8 4 --no-conditional"


def test_a_preset_is_written_out():
    preset = Config(norm="layer", rate=0.1)
    config = parse(Config, {"wide": preset}, ["--preset", "wide", "--rate", "0.001"])
    command = command_of(config)
    assert command == "python -m experiments.toy --norm layer"
    again = parse(Config, {}, shlex.split(command)[3:])
    assert identity(again) == identity(config)
