"""Runs leave as folders of safetensors, end to end."""

import json

import numpy as np
import pytest

from experiments import classifier, language_model
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.gpt2_names import published
from jaxmodels.pretrained import load, open_weights
from jaxmodels.train import load_run

pytestmark = pytest.mark.slow

SMALL = ["--steps", "1", "--batch-size", "8", "--eval-every", "1", "--log-every", "1"]
SMALL += ["--mesh", "data=1"]


def test_a_language_model_leaves_with_its_tokenizer(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("\n".join(f"the cat sat {n} times" for n in range(400)))
    run, out = str(tmp_path / "run"), tmp_path / "out"
    flags = ["--data", str(tmp_path / "text.txt"), "--vocabulary", "270", "--context", "16"]
    flags += ["--model", "gpt2", "--width", "24", "--heads", "3", "--layers", "2", "--ema", "0.5"]
    assert (
        language_model.main(
            language_model.LanguageModelConfig,
            language_model.build,
            language_model.PRESETS,
            [*SMALL, *flags, "--workdir", run],
        )
        == 0
    )
    exporting = ["--workdir", run, "--mode", "export", "--output", str(out)]
    given = (language_model.LanguageModelConfig, language_model.build, language_model.PRESETS)
    assert language_model.main(*given, exporting) == 0
    assert f"step=1 format=safetensors output={out}" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert (config["n_layer"], config["n_embd"], config["n_positions"]) == (2, 24, 16)
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    average = load_run(run).state["ema"]
    table = published(GPT2Config(layers=2, width=24, heads=3))
    params = load(open_weights(out), table, average)["params"]
    for name, leaf in average["params"]["block_1"]["query"].items():
        np.testing.assert_array_equal(params["block_1"]["query"][name], leaf)
    assert language_model.main(*given, exporting) == 2
    assert "it exists: name one that is to be made" in capsys.readouterr().err


def test_a_model_that_nobody_else_has_is_refused_in_one_line(tmp_path, capsys):
    run, out = str(tmp_path / "run"), tmp_path / "out"
    given = (classifier.ClassifierConfig, classifier.build, classifier.PRESETS)
    flags = ["--model", "mlp", "--hidden", "8", "--workdir", run]
    assert classifier.main(*given, [*SMALL, *flags]) == 0
    capsys.readouterr()
    assert (
        classifier.main(*given, ["--workdir", run, "--mode", "export", "--output", str(out)]) == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not out.exists()
    assert "model = mlp; no other library has its architecture" in error
