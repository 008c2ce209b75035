"""What the READMEs say is so: their code runs, their links lead somewhere, their commands parse."""

import ast
import importlib
import importlib.util
import re
import runpy
import shlex
import sys
import textwrap
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from PIL import Image

from experiments.classifier import ClassifierConfig
from jaxmodels.data import Resident, Streamed, decode_once
from jaxmodels.models.classifiers import ClassifierModels
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.report.__main__ import Arguments
from jaxmodels.report.page import title_of
from jaxmodels.report.run import read_run
from jaxmodels.train import ComputeConfig, Config, ModelSection, RunConfig, Section, main, train
from jaxmodels.train.flags import parse

ROOT = Path(__file__).parents[1]
README, ARCHITECTURE = ROOT / "README.md", ROOT / "jaxmodels/README.md"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [
        README,
        ROOT / "experiments/RESULTS.md",
        *sorted((ROOT / "jaxmodels").rglob("*.md")),
        *sorted((ROOT / "experiments").rglob("README.md")),
    ]
}
EXPERIMENTS = {
    "classifier": "ClassifierConfig",
    "detection": "DetectionConfig",
    "gan": "GANConfig",
    "language_model": "LanguageModelConfig",
    "sentiment": "SentimentConfig",
    "speech_commands": "SpeechCommandsConfig",
    "speech_recognition": "SpeechRecognitionConfig",
    "speech_synthesis": "SpeechSynthesisConfig",
    "summarization": "SummarizationConfig",
    "table": "TableConfig",
    "token_classification": "TokenClassificationConfig",
    "translation": "TranslationConfig",
    "vae": "VAEConfig",
    "vocoder": "VocoderConfig",
}
# Words of a command that are there for the reader to replace.
PLACEHOLDERS = ("NAME", "[flags]")


def _code(page: Path, name: str) -> str:
    """The block of Python of a page that has this in it."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    (block,) = (block for block in blocks if name in block)
    return block


def _run(code: str, **names: object) -> dict:
    """The names that code defines, beside those that it is given."""
    # Dataclasses look their annotations up in the module that they say they are from.
    names |= {"__name__": __name__}
    exec(compile(code, "<README>", "exec"), names)
    return names


# The code


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_an_objective_of_ones_own_is_a_whole_experiment(parallel, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "mine.py"
    script.write_text(_code(README, "def step("))
    flags = ["--steps", "20", "--parallel", parallel, "--workdir", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [str(script), *flags])
    for said in ("step=20 test/loss=", "is finished"):
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        assert ended.value.code == 0
        assert said in capsys.readouterr().out
    run = read_run(tmp_path / "run")
    assert run.last("test")["loss"] < 0.1
    assert (tmp_path / "run/report.html").exists()
    assert run.record["command"].startswith("python mine.py --steps 20")
    assert title_of(run) == "mine"
    # The commit has no script of one's own.
    assert (run.environment["git_commit"] or "+").endswith("+")
    # What it would ignore is no flag.
    for flag in ("--accumulate", "--precision"):
        assert main(Config, print, {}, [flag, "2"]) == 2
        assert f"unknown flag {flag}" in capsys.readouterr().err


def test_an_objective_of_ones_own_has_at_most_25_lines():
    code = _code(README, "def step(")
    assert len([line for line in code.splitlines() if line.strip()]) <= 25


@pytest.mark.slow
def test_a_notebook_trains_on_its_own_arrays(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    code = _code(README, "images_from_arrays")
    assert code.count('"runs/mine"') == 2
    generator = np.random.default_rng(0)
    names = _run(
        code.replace('"runs/mine"', repr(str(tmp_path / "run"))),
        images=generator.integers(0, 256, (64, 8, 8, 1), np.uint8),
        labels=np.arange(64) % 10,
    )
    assert names["result"].step == 20
    assert 0 <= names["result"].scores["test"]["accuracy"] <= 1
    run = read_run(tmp_path / "run")
    assert run.record["command"] == "from a notebook: train(build, config, data)"
    assert (title_of(run), run.config["data"]) == ("arrays · mlp", "arrays")
    resumed = train(names["build"], names["config"], names["data"])
    assert not resumed.trained and resumed.scores == names["result"].scores


def test_a_new_model_is_a_config_and_a_module():
    names = _run(_code(ARCHITECTURE, "class Linear("), dataclass=dataclass, nn=nn, jnp=jnp)
    given = {"dataclass": dataclass, "field": field, "ClassVar": ClassVar, **names}
    given |= {"ClassifierModels": ClassifierModels, "ClassifierConfig": ClassifierConfig}
    config_class = _run(_code(ARCHITECTURE, "class MyConfig"), **given, ModelSection=ModelSection)[
        "MyConfig"
    ]

    for flags in (["--linear.no-bias"], ["--no-bias"]):
        config = parse(config_class, {}, flags)
        assert not config.model.linear.bias
        config.validate()
        model = config.model.create(10)
        x = jnp.ones((2, 4, 4, 1))
        logits, variables = model.init_with_output(jax.random.key(0), x)
        assert logits.shape == (2, 10)
        assert list(variables["params"]["Dense_0"]) == ["kernel"]
        assert model.apply(variables, x, method="features").shape == (2, 16)


def test_a_new_data_set_is_records_and_a_decoder(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("".join(f"{row},{row + 1},{row + 2},{2 * row}\n" for row in range(5)))
    given = {"path": path, "folder": tmp_path / "decoded", "jax": jax, "np": np}
    given |= {"Streamed": Streamed, "Resident": Resident, "decode_once": decode_once}
    names = _run(_code(ARCHITECTURE, "class Lines"), **given)
    rows = np.array([3, 0])
    for source in (names["streamed"], names["resident"]):
        assert source.size == 5
        batch = source.examples(rows)
        np.testing.assert_array_equal(batch["x"], [[3, 4, 5], [0, 1, 2]])
        np.testing.assert_array_equal(batch["y"], [6, 0])


def test_a_new_config_has_the_flags_of_its_sections():
    given = {"dataclass": dataclass, "ClassVar": ClassVar, "Config": Config, "Section": Section}
    given |= {"RunConfig": RunConfig, "OptimizerConfig": OptimizerConfig}
    given["ComputeConfig"] = ComputeConfig
    config_class = _run(_code(ARCHITECTURE, "class TableConfig"), **given)["TableConfig"]
    config = parse(config_class, {}, ["--learning-rate", "0.1", "--width", "8"])
    assert (config.optimizer.learning_rate, config.width, config.run.steps) == (0.1, 8, 200)


def test_the_picture_of_a_report_keeps_its_colours():
    path = ROOT / "experiments/report.png"
    assert path.stat().st_size < 200_000
    colours = np.array([c for _, c in Image.open(path).convert("RGB").getcolors(1 << 20)])
    for line in ((0, 114, 178), (213, 94, 0)):  # validation and test
        assert np.abs(colours - line).sum(axis=1).min() < 20


# The links


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(path.read_text("utf-8"))):
            wrong.append(target)
    assert not wrong


# The commands


def _commands(text: str) -> list[list[str]]:
    """The words after "python -m" of every command in a page."""
    fenced = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    lines = [line.partition(" #")[0] for block in fenced for line in block.splitlines()]
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    pieces = [part for each in (*lines, *spans) for part in each.split("&&")]
    found = (re.search(r"\bpython3? -m (.*)", " ".join(piece.split())) for piece in pieces)
    return [shlex.split(match[1]) for match in found if match]


# Benchmarks whose flags are those of an experiment.
BORROWED = {"experiments.benchmarks.perplexity": "experiments.language_model"}
COMMANDS = sorted({shlex.join(words) for text in PAGES.values() for words in _commands(text)})


def _flags_in(module: str) -> set[str]:
    """The flags of a script that reads a dataclass of its own: the fields of its configs."""
    path = Path(importlib.util.find_spec(module).origin)
    files = path.parent.glob("*.py") if path.name == "__init__.py" else [path]
    return {
        "--" + statement.target.id.replace("_", "-")
        for file in files
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_modules_and_flags_that_there_are(command):
    module, *words = shlex.split(command)
    if any(name in module for name in (*PLACEHOLDERS, "…")):
        assert module in ("experiments.NAME", "…")
        return
    assert importlib.util.find_spec(module)
    module = BORROWED.get(module, module)
    words = [word for word in words if word not in ("--help", *PLACEHOLDERS)]
    package, _, name = module.rpartition(".")
    if package == "experiments" and name in EXPERIMENTS:
        if "--preset" in words[-1:]:
            words.pop()
        script = importlib.import_module(module)
        parse(getattr(script, EXPERIMENTS[name]), script.PRESETS, words)
    elif module == "jaxmodels.report":
        tyro.cli(Arguments, args=words)
    elif package.startswith("experiments"):
        flags = {word for word in words if word.startswith("--")}
        assert flags <= _flags_in(module)


def test_there_are_commands_to_check():
    modules = {shlex.split(command)[0] for command in COMMANDS}
    assert {"experiments.classifier", "experiments.gan", "jaxmodels.report", "venv"} <= modules


def test_commands_are_found_in_blocks_and_in_lines():
    text = textwrap.dedent(
        """\
        Run `python -m a --x
        1` twice.

        ```
        python3 -m b c && .venv/bin/python -m d --y 2  # a remark
        ```
        """
    )
    assert _commands(text) == [["b", "c"], ["d", "--y", "2"], ["a", "--x", "1"]]
