"""Values of flags from files and notebooks: fitted to their types, or refused in one line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.train import Config, Role, configure
from jaxmodels.train.config import from_json, from_record
from jaxmodels.train.fitting import fit
from jaxmodels.train.flags import parse


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    """A toy."""

    experiment = "toy"

    rate: float = 0.5
    """A number."""
    hidden: tuple[int, ...] = (4,)
    """Widths."""
    flip: bool = False
    """Or not."""
    limit: Annotated[float | None, Role.HOW] = None
    """A limit."""
    how: Literal["", "fast"] = ""
    """A choice."""


GOOD = [
    (3, int, 3),
    (3.0, int, 3),
    (np.int64(3), int, 3),
    (jnp.int32(3), int, 3),
    (np.float32(2), int, 2),
    (1, float, 1.0),
    (np.float32(0.5), float, 0.5),
    (np.array(0.5), float, 0.5),
    (np.bool_(True), bool, True),
    (np.str_("a"), str, "a"),
    (Path("a/b"), str | None, "a/b"),
    (None, Annotated[str | None, Role.HOW], None),
    (2, float | None, 2.0),
    ("fast", Literal["", "fast"], "fast"),
    ([32, 16.0], tuple[int, ...], (32, 16)),
    (np.array([1, 2]), tuple[int, ...], (1, 2)),
    ((), tuple[str, ...], ()),
    ([1, "a"], tuple[int, str], (1, "a")),
]
BAD = [
    ("20", int, "a whole number"),
    (3.5, int, "a whole number"),
    (float("nan"), int, "a whole number"),
    (float("inf"), int, "a whole number"),
    (1e30, int, "a whole number"),
    (True, int, "a whole number"),
    (None, int, "a whole number"),
    ("fast", float, "a number"),
    (False, float, "a number"),
    (10**400, float, "a number"),
    ("yes", bool, "true or false"),
    (1, bool, "true or false"),
    (3, str, "text"),
    ("a\0b", str, "text"),
    (b"a", str, "text"),
    ([1], str | None, "text or None"),
    ("fats", Literal["", "fast"], "one of '', 'fast'; did you mean 'fast'"),
    ([], Literal["", "fast"], "one of"),
    (10, tuple[int, ...], "a list, each a whole number"),
    ("10", tuple[int, ...], "a list"),
    ({1: 2}, tuple[int, ...], "a list"),
    (["a"], tuple[int, ...], "a list"),
    ([1], tuple[int, str], "a list of 2: a whole number, text"),
]


@pytest.mark.parametrize(("value", "hint", "expected"), GOOD)
def test_a_value_that_fits_gets_the_type_of_its_field(value, hint, expected):
    fitted = fit("name", value, hint)
    assert fitted == expected and type(fitted) is type(expected)
    if isinstance(expected, tuple):
        assert list(map(type, fitted)) == list(map(type, expected))


@pytest.mark.parametrize(("value", "hint", "expected"), BAD)
def test_another_type_is_refused_in_one_line(value, hint, expected):
    with pytest.raises(InputError) as error:
        fit("name", value, hint)
    message = str(error.value)
    assert message.startswith("name = ") and f"expected {expected}" in message
    assert len(message) < 200 and "\n" not in message


def test_what_is_large_is_shown_short():
    nested = ["x" * 1000]
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(InputError) as error:
        fit("name", nested, str)
    assert len(str(error.value)) < 200


def test_a_notebook_is_told_what_does_not_fit():
    config = configure(ToyConfig(), hidden=[32], workdir=Path("here"), steps=np.int64(3), rate=1)
    assert (config.hidden, config.run.workdir, config.run.steps) == ((32,), "here", 3)
    assert type(config.rate) is float
    with pytest.raises(InputError, match="steps = '20'; expected a whole number"):
        configure(ToyConfig(), steps="20")
    with pytest.raises(InputError, match="rate = 'x'; expected a number"):
        ToyConfig(rate="x").validate()  # type: ignore[arg-type]


LINES = {
    "steps: abc": "steps = 'abc'; expected a whole number",
    "rate: fast": "rate = 'fast'; expected a number",
    "hidden: 10": "hidden = 10; expected a list",
    'flip: "yes"': "flip = 'yes'; expected true or false",
    'steps: "1e3"': "steps = '1e3'; expected a whole number",
    "workdir: 3": "workdir = 3; expected text",
    "preset: [1]": r"preset = \[1\]; expected text",
    "how: 2020-01-01": "how = .*; expected one of",
    "[" * 5000: "neither JSON nor YAML",
}


@pytest.mark.parametrize("line", LINES)
def test_flags_in_a_file_are_checked(tmp_path, line):
    (tmp_path / "flags.yaml").write_text(line)
    with pytest.raises(InputError, match=LINES[line]):
        parse(ToyConfig, {}, ["--config", str(tmp_path / "flags.yaml")])


def test_numbers_in_a_file_may_be_written_as_on_the_command_line(tmp_path):
    text = "steps: 1e3\nbatch-size: 3.0\nrate: 1e-3\nhidden: [1e2, 7]\nlimit: 2\nworkdir: '1e3'\n"
    (tmp_path / "flags.yaml").write_text(text)
    config = parse(ToyConfig, {}, ["--config", str(tmp_path / "flags.yaml")])
    assert (config.run.steps, config.run.batch_size) == (1000, 3)
    assert (config.rate, config.hidden, config.limit) == (1e-3, (100, 7), 2.0)
    assert config.run.workdir == "1e3"


HOSTILE = [{"steps": "abc"}, {"hidden": {}}, {"rate": None}, {"how": ["fast"]}, {"steps": 1e300}]


@pytest.mark.parametrize("values", HOSTILE)
def test_hostile_values_of_a_record_are_refused(values, tmp_path):
    with pytest.raises(InputError, match=f"{next(iter(values))} = .*; expected"):
        from_json(ToyConfig, values)
    record = {"format": 2, "experiment": "toy", "config": values}
    with pytest.raises(InputError, match="the run's record has"):
        from_record(ToyConfig, record)
    (tmp_path / "config.json").write_text(json.dumps(record | {"format": "new"}))
    with pytest.raises(InputError, match="format = 'new'"):
        parse(ToyConfig, {}, ["--config", str(tmp_path / "config.json")])
