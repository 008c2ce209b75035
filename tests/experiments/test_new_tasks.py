"""What the house has never seen, as new files only: a table, several labels, a model.

What they get for nothing: flags, resume to the bit, eight devices, the report, prediction."""

import contextlib
import inspect
import io
import json
import os
import signal

import jax
import numpy as np
import pytest

from jaxmodels.data.images import images_from_arrays
from jaxmodels.errors import InputError
from jaxmodels.report import write_comparison
from jaxmodels.train import configure, load_run, main, train
from tests.experiments import convnext, multilabel, tabular
from tests.experiments.resuming import resumed_to_the_bit
from tests.marks import slow


def _table(path, count=203):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 3))
    y = 3 * x[:, 0] - x[:, 1] + np.abs(x[:, 2]) + 0.1 * generator.normal(size=count)
    rows = ["a,b,y,c", *(f"{p:.5f},{q:.5f},{t:.5f},{r:.5f}" for (p, q, r), t in zip(x, y))]
    path.write_text("\n".join(rows) + "\n")


def _run(*arguments):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(tabular.TabularConfig, tabular.build, {}, [str(a) for a in arguments])
    return code, out.getvalue(), error.getvalue()


def _summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


@pytest.mark.slow
def test_a_table_trains_and_predicts_from_the_command_line(tmp_path):
    _table(tmp_path / "numbers.csv")
    flags = ["--table", tmp_path / "numbers.csv", "--workdir", tmp_path / "run"]
    code, out, error = _run(*flags)
    assert code == 0, error
    assert float(_summary(out)["test/r2"]) > 0.95
    page = (tmp_path / "run/report.html").read_text()
    assert "share of the target&#x27;s variance that is explained" in page
    (tmp_path / "new.csv").write_text("c,b,a\n0,0,1\n0,2,0\nx,0,0\n")
    output = tmp_path / "new.jsonl"
    flags = ["--workdir", tmp_path / "run", "--mode", "predict"]
    code, out, error = _run(*flags, "--input", tmp_path / "new.csv", "--output", output)
    assert code == 0, error
    assert "count=3 failed=1" in out
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["input"] for line in lines] == ["new.csv:0", "new.csv:1", "new.csv:2"]
    assert lines[0]["y"] == pytest.approx(3, abs=0.7)
    assert lines[1]["y"] == pytest.approx(-2, abs=0.7)
    assert "could not convert" in lines[2]["error"]
    code, _, error = _run("--table", tmp_path / "none.csv", "--workdir", tmp_path / "other")
    assert (code, "expected a CSV file" in error, error.count("\n")) == (2, True, 1)


def test_a_table_resumes_to_the_bit_and_runs_on_all_devices(tmp_path):
    _table(tmp_path / "numbers.csv")
    flags = {"table": str(tmp_path / "numbers.csv"), "steps": 100, "log_every": 10}
    config = configure(tabular.TabularConfig(), **flags)
    whole = train(tabular.build, configure(config, workdir=str(tmp_path / "whole")))

    def interrupted(config):
        experiment = tabular.build(config)
        return experiment._replace(
            describe=lambda step, *_: os.kill(os.getpid(), signal.SIGTERM) if step == 30 else None
        )

    parts = configure(config, workdir=str(tmp_path / "parts"), accept_code_change=True)
    assert not train(interrupted, parts).finished
    resumed = train(tabular.build, parts)
    for a, b in zip(*(jax.tree.leaves(r.state) for r in (whole, resumed)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    one = train(tabular.build, configure(config, workdir=str(tmp_path / "one"), mesh="data=1"))
    assert one.scores["test"]["r2"] == pytest.approx(whole.scores["test"]["r2"], abs=1e-4)
    page = write_comparison([tmp_path / "whole", tmp_path / "one"], tmp_path / "both.html")
    assert "higher is better" in page.read_text()


@pytest.mark.slow
def test_a_run_may_get_another_end_in_the_constant_part_of_a_trapezoid(tmp_path):
    """It is then, to the bit, the run of that length; later, it is another run."""
    _table(tmp_path / "numbers.csv")
    flags = {"table": str(tmp_path / "numbers.csv"), "log_every": 10, "steps_per_dispatch": 10}
    trapezoid = {"schedule": "trapezoid", "warmup_steps": 5, "cooldown": 0.5}
    config = configure(tabular.TabularConfig(), **flags, **trapezoid, eval_every=200)

    def stopped_at(step):
        return lambda config: tabular.build(config)._replace(
            describe=lambda at, *_: os.kill(os.getpid(), signal.SIGTERM) if at == step else None
        )

    def run(build, name, steps):
        folder = {"workdir": str(tmp_path / name), "accept_code_change": True}
        return train(build, configure(config, **folder, steps=steps))

    whole = run(tabular.build, "whole", 200)
    assert 20 <= run(stopped_at(20), "parts", 120).step <= 60
    assert 130 <= run(stopped_at(130), "parts", 200).step < 200
    with pytest.raises(InputError, match=r"steps 200 -> 240 .* first 100 are the same; it is at 1"):
        run(tabular.build, "parts", 240)
    resumed = run(tabular.build, "parts", 200)
    for a, b in zip(*(jax.tree.leaves(r.state) for r in (whole, resumed)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _labelled(count=96, known=0.6):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(count, 4)).astype(np.float32)
    labels = (x @ np.random.default_rng(2).normal(size=(4, 3)) > 0).astype(np.int32)
    # Examples with many known labels and with none.
    hidden = generator.uniform(size=labels.shape) > known * generator.uniform(size=(count, 1)) * 2
    return {"x": x, "labels": np.where(hidden, -1, labels).astype(np.int32)}


@pytest.mark.slow
def test_several_labels_learn_from_arrays_of_a_notebook(tmp_path):
    data = {"train": _labelled(), "validation": _labelled(41), "test": _labelled(37)}
    config = configure(multilabel.MultiLabelConfig(), workdir=str(tmp_path / "run"))
    result = train(multilabel.build, config, data)
    assert result.scores["test"]["f1"] > 0.8
    record = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert record["test"]["known"] == (data["test"]["labels"] >= 0).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [{"accumulate": 4, "mesh": "data=1"}, slow({"parallel": "pmap"}), slow({})]
)
def test_labels_weigh_alike_in_parts_and_on_devices(tmp_path, flags):
    """Each part of a batch has another number of known labels."""
    data = {"train": _labelled(known=0.3), "test": _labelled(37)}
    config = configure(multilabel.MultiLabelConfig(), steps=10, eval_every=10)
    results = [
        train(multilabel.build, configure(config, workdir=str(tmp_path / name), **each), data)
        for name, each in (("one", {"mesh": "data=1"}), ("other", flags))
    ]
    for a, b in zip(*(jax.tree.leaves(r.state["params"]) for r in results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_users_convnext_has_at_most_40_lines_besides_what_it_says():
    lines = inspect.getsource(convnext).splitlines()
    assert len([line for line in lines if line.strip(' "') and '"""' not in line]) <= 40


def test_a_config_says_what_its_base_says_until_it_says_more(capsys):
    with pytest.raises(SystemExit):
        main(convnext.ConvNeXtExperiment, convnext.build, {}, ["--help"])
    text = capsys.readouterr().out
    assert "Train, resume and evaluate an image classifier" in text
    assert "--convnext.widths" in text and "RunConfig(" not in text


@pytest.mark.slow
def test_a_users_model_has_what_the_classifier_has(tmp_path):
    generator = np.random.default_rng(0)
    images = {
        "image": generator.integers(0, 256, (24, 6, 6, 1), np.uint8),
        "label": np.arange(24) % 3,
    }
    data = images_from_arrays({"train": images, "test": images})
    flags = {"widths": (4, 8), "steps": 6, "batch_size": 8, "log_every": 1, "eval_every": 2}
    config = configure(convnext.ConvNeXtExperiment(), **flags, steps_per_dispatch=2)
    whole = resumed_to_the_bit(convnext.build, config, data, tmp_path)
    assert whole.state["params"]["scale_1"].shape == (8,)
    run = load_run(tmp_path / "whole", convnext.ConvNeXtExperiment, convnext.build)
    (line,) = run.predict(images["image"][:1])
    assert line["label"] in ("0", "1", "2")
