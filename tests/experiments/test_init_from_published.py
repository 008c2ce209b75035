"""Published weights start a run: they say which model it is, and need not stay where they are."""

import json
import shutil

import pytest

from experiments import classifier, language_model
from jaxmodels.train import load_run, main

VIT = "--model vit --patch 4 --width 8 --depth 1 --heads 2"
COMMON = "--mesh data=1 --batch-size 64 --eval-every 100 --schedule constant --dropout 0"


def _classifier(flags, workdir, *more):
    arguments = [*COMMON.split(), *flags.split(), "--workdir", str(workdir), *map(str, more)]
    return main(classifier.ClassifierConfig, classifier.build, arguments=arguments)


def _export(run, folder):
    assert _classifier("--mode export", run, "--output", folder) == 0


def _scores(line):
    fields = dict(field.split("=") for field in line.split())
    return float(fields["test/loss"]), float(fields["test/accuracy"])


@pytest.mark.slow
def test_published_weights_act_as_a_preset(tmp_path, capsys):
    first, tuned, nothing = (tmp_path / name for name in ("first", "tuned", "nothing"))
    weights, again = tmp_path / "weights", tmp_path / "again"
    assert _classifier(f"--steps 3 {VIT}", first) == 0
    expected = _scores(capsys.readouterr().out.splitlines()[-1])
    _export(first, weights)
    capsys.readouterr()
    # As they are, without a run.
    assert _classifier("--mode evaluate", nothing, "--init-from", weights) == 0
    assert _scores(capsys.readouterr().out) == pytest.approx(expected, rel=1e-4)
    assert not nothing.exists()

    adapters = "--adapter-rank 2 --adapter-on block_./.*kernel --adapter-also ^head"
    assert _classifier(f"--steps 2 {adapters}", tuned, "--init-from", weights) == 0
    record = json.loads((tuned / "config.json").read_text())
    assert record["config"]["model"] == "vit" and record["config"]["width"] == 8
    assert record["facts"]["start"]["kind"] == "published"
    assert record["facts"]["start"]["fresh"] == {}
    capsys.readouterr()
    assert _classifier("--patch 2", tmp_path / "other", "--init-from", weights) == 2
    assert "patch = 2; the weights" in capsys.readouterr().err
    assert _classifier("--model cnn", tmp_path / "other", "--init-from", weights) == 2
    assert "model = cnn; the weights" in capsys.readouterr().err
    # The run goes on without the weights, and leaves with its adapters merged.
    shutil.rmtree(weights)
    assert _classifier(f"--steps 3 {adapters}", tuned, "--init-from", weights) == 0
    expected = _scores(capsys.readouterr().out.splitlines()[-1])
    _export(tuned, again)
    capsys.readouterr()
    assert _classifier("--mode evaluate", nothing, "--init-from", again) == 0
    assert _scores(capsys.readouterr().out) == pytest.approx(expected, rel=1e-4)
    assert load_run(tuned).step == 3


@pytest.mark.slow
def test_weights_of_a_language_model_bring_their_tokenizer(tmp_path, capsys):
    text = tmp_path / "book.txt"
    text.write_text("\n\n".join(f"The {n} little words of line {n} are here." for n in range(400)))
    flags = [
        "--data",
        str(text),
        "--mesh",
        "data=1",
        "--batch-size",
        "8",
        "--eval-every",
        "100",
        "--dropout",
        "0",
    ]

    def run(words, workdir, *more):
        arguments = [*flags, *words.split(), "--workdir", str(workdir), *map(str, more)]
        return main(language_model.LanguageModelConfig, language_model.build, arguments=arguments)

    first, weights, nothing = (tmp_path / name for name in ("first", "weights", "nothing"))
    model = "--model gpt2 --layers 1 --width 8 --heads 2 --tokenizer bpe --vocabulary 270"
    assert run(f"{model} --context 16 --steps 2 --documents paragraph", first) == 0
    loss = load_run(first).scores["test"]["loss"]
    assert run("--mode export", first, "--output", weights) == 0
    capsys.readouterr()
    shared = "--documents paragraph --count 1"
    assert run(f"--mode evaluate {shared}", nothing, "--init-from", weights) == 0
    line = capsys.readouterr().out
    assert float(line.split("test/loss=")[1].split()[0]) == pytest.approx(loss, rel=1e-4)
    assert run(f"--mode sample --prompt The {shared}", nothing, "--init-from", weights) == 0
    assert capsys.readouterr().out.startswith("The")
    assert not nothing.exists()
