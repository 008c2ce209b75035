"""Composed configs: flags by name, options of models, roles, the recorded command."""

import shlex
from dataclasses import dataclass
from typing import Annotated

import pytest

from jaxmodels.errors import InputError
from jaxmodels.train import Config, ModelSection, Preset, Role, RunConfig, Section, configure
from jaxmodels.train.config import flags_of, from_json, to_json
from jaxmodels.train.flags import parse
from jaxmodels.train.identity import command_of, identity, workdir_of


@dataclass(frozen=True, kw_only=True)
class TreeConfig:
    """A tree."""

    hidden: tuple[int, ...] = (4,)
    """Widths."""
    leaves: bool = False
    """Whether there are leaves."""


@dataclass(frozen=True, kw_only=True)
class BushConfig:
    """A bush."""

    branches: int = 3
    """How many."""


@dataclass(frozen=True, kw_only=True)
class Plants:
    """Which plant."""

    model: str = "tree"
    """Plant."""
    tree: TreeConfig = TreeConfig()
    bush: BushConfig = BushConfig()


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    """A toy."""

    experiment = "toy"

    run: Section[RunConfig] = RunConfig(steps=100)
    plant: ModelSection[Plants] = Plants()
    data: str = "digits"
    """Data."""
    names: tuple[str, ...] = ("crop",)
    """Names."""
    conditional: bool = True
    """Or not."""
    rate: float = 1e-3
    """A rate."""
    norm: str = "batch"
    """A norm."""
    limit: float | None = None
    """A limit."""
    samples: Annotated[int, Role.READ] = 10
    """Samples."""


def toy(**flags):
    return configure(ToyConfig(), **flags)


CONFIGS = [
    toy(),
    toy(hidden=(64, 32), conditional=False, rate=3e-7, batch_size=32),
    toy(names=(), limit=0.5, norm=""),
    toy(rate=-1e-5, norm="-x", names=("two words", "$HOME", "it's", "a;b")),
    toy(preset="quick", data="my data", steps=5, eval_every=7),
    toy(model="bush", branches=5),
    toy(leaves=True),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_command_is_the_config(config):
    words = shlex.split(command_of(config))
    assert words[:3] == ["python", "-m", "experiments.toy"]
    assert parse(ToyConfig, {}, words[3:]) == configure(config, preset="")


def test_only_what_differs_from_the_defaults_is_in_it():
    assert command_of(toy()) == "python -m experiments.toy"
    config = toy(conditional=False, hidden=(8, 4), workdir="here", overwrite=True, mode="sample")
    assert command_of(config) == "python -m experiments.toy --hidden 8 4 --no-conditional"


def test_a_preset_is_written_out():
    presets = {"wide": Preset({"norm": "layer", "rate": 0.1}, "a book", "much", "little")}
    config = parse(ToyConfig, presets, ["--preset", "wide", "--rate", "0.001"])
    assert command_of(config) == "python -m experiments.toy --norm layer"
    again = parse(ToyConfig, {}, shlex.split(command_of(config))[3:])
    assert identity(again) == identity(config)


@pytest.mark.parametrize("config", CONFIGS)
def test_json_is_flat_and_reads_back(config):
    values = to_json(config)
    assert {"steps", "rate", "model"} < values.keys()
    assert from_json(ToyConfig, values | {"gone": 1}) == config


def test_the_options_of_the_chosen_model_are_flags_and_the_others_mean_nothing():
    assert {"hidden", "leaves"} < flags_of(toy()).keys()
    assert "branches" not in flags_of(toy())
    other = configure(toy(), **{"bush.branches": 9})
    assert identity(other) == identity(toy())
    assert configure(other, model="bush").plant.bush.branches == 9
    assert parse(ToyConfig, {}, ["--model", "bush", "--branches", "7"]).plant.bush.branches == 7
    assert parse(ToyConfig, {}, ["--bush.branches", "7"]).plant.bush.branches == 7
    assert parse(ToyConfig, {}, ["--no-leaves"]) == toy()
    with pytest.raises(InputError, match="model 'tree' has no such option: --model bush"):
        parse(ToyConfig, {}, ["--branches", "7"])
    with pytest.raises(InputError, match=r"unknown flag 'braches'"):
        toy(model="bush", braches=3)


def test_whole_numbers_may_be_written_with_powers_of_ten():
    config = parse(ToyConfig, {}, ["--steps", "1e4", "--batch-size=2.5e2", "--hidden", "1e2", "7"])
    assert (config.run.steps, config.run.batch_size) == (10_000, 250)
    assert config.plant.tree.hidden == (100, 7)
    assert parse(ToyConfig, {}, ["--rate", "1e4"]).rate == 1e4
    with pytest.raises(InputError, match="--steps"):
        parse(ToyConfig, {}, ["--steps", "1e-4"])


def test_roles_decide_what_makes_a_run():
    same = toy(workdir="x", eval_every=3, mesh="data=2", mode="evaluate", steps=50)
    assert identity(same) == identity(toy())
    for flag in ({"seed": 1}, {"rate": 0.1}, {"samples": 3}, {"hidden": (5,)}):
        assert identity(toy(**flag)) != identity(toy())


def test_a_path_of_data_is_the_folder_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    relative, absolute = toy(data="./photos"), toy(data=str(tmp_path / "photos"))
    assert identity(relative) == identity(absolute)
    assert workdir_of(relative) == workdir_of(absolute)
    assert workdir_of(relative).name.startswith("photos-tree-0-")
    (tmp_path / "more/photos").mkdir(parents=True)
    assert workdir_of(toy(data="./more/photos")) != workdir_of(relative)
    assert identity(toy(data="mnist")) != identity(toy())


def test_a_config_without_a_section_for_it_has_no_accumulation():
    with pytest.raises(InputError, match="unknown flag 'accumulate'"):
        toy(accumulate=2)
    with pytest.raises(InputError, match="--precision"):
        parse(ToyConfig, {}, ["--precision", "bfloat16"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--steps abc",
            "--steps abc; expected INT: Length of training in steps (updates). (default: 100)",
        ),
        ("--steps", "--steps has no value; expected one after it"),
        (
            "--mode tran",
            "--mode tran; did you mean 'train'? Expected train, evaluate, sample, predict, export",
        ),
        (
            "--step 3",
            "unknown flag --step; did you mean --steps? --steps INT Length of training in steps"
            " (updates). (default: 100)",
        ),
        ("--hiden 3", "unknown flag --hiden; did you mean '--hidden'?"),
        ("--quite-another 3", "unknown flag --quite-another; --help lists all"),
        ("stray", "'stray' is no flag; expected --FLAG VALUE"),
    ],
)
def test_a_wrong_flag_is_told_in_one_readable_line(words, message):
    with pytest.raises(InputError) as raised:
        parse(ToyConfig, {}, words.split())
    assert str(raised.value) == message
