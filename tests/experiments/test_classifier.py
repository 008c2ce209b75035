"""The classifier experiment as a user runs it."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.classifier import PRESETS, ClassifierConfig, build
from jaxmodels.errors import InputError
from jaxmodels.train import configure, main, train
from tests.marks import campaign, slow
from tests.tfds_folder import write_image_dataset

SMALL = ["--model", "mlp", "--hidden", "16", "--steps", "2", "--log-every", "1"]
SMALL += ["--mesh", "data=1"]


def _run(*arguments):
    """Exit code, standard output and standard error of the command line."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(ClassifierConfig, build, PRESETS, [str(a) for a in arguments])
    return code, out.getvalue(), error.getvalue()


def _summary(out):
    last = out.splitlines()[-1]
    return dict(field.split("=", 1) for field in last.split(" "))


def test_two_steps_then_resume(tmp_path):
    flags = ["--workdir", tmp_path, "--schedule", "constant", *SMALL]
    code, out, _ = _run(*flags)
    assert (code, _summary(out)["step"]) == (0, "2")
    code, out, _ = _run(*flags, "--steps", 4)
    assert (code, _summary(out)["step"]) == (0, "4")
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 2, 2, 3, 4, 4, 4]
    code, out, _ = _run(*flags, "--steps", 4)
    assert (code, "is finished; a larger --steps extends it" in out) == (0, True)
    code, out, _ = _run("--workdir", tmp_path, "--mode", "evaluate")
    assert (code, _summary(out)["step"]) == (0, "4")


@pytest.mark.campaign
@pytest.mark.slow
def test_the_default_command_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.classifier", *SMALL],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    summary = _summary(done.stdout)
    best = ["best/step", "best/accuracy"]
    assert list(summary) == ["step", *(f"test/{k}" for k in KEYS), *best, "workdir"]
    assert re.fullmatch(r"runs/classifier/digits-mlp-0-[0-9a-f]{8}", summary["workdir"])
    assert (tmp_path / summary["workdir"] / "config.json").exists()


KEYS = ("loss", "accuracy", "top5", "precision", "recall", "f1", "ece")


@pytest.mark.campaign
@pytest.mark.slow
def test_it_learns_the_digits_and_reports_them(drawn, tmp_path):
    code, out, _ = _run("--workdir", tmp_path, "--model", "mlp", "--steps", 300)
    assert code == 0
    assert float(_summary(out)["test/accuracy"]) > 0.95
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert np.sum(report["test"]["confusion"]) == 360
    assert np.sum(report["validation"]["confusion"]) == 157
    assert report["test"]["per_class"]["3"]["support"] == 37
    assert report["test"]["accuracy"] == pytest.approx(
        float(_summary(out)["test/accuracy"]), abs=1e-5
    )
    wrong = 360 - np.trace(report["test"]["confusion"])
    assert wrong > 0
    for name in ("curves.png", "samples/confusion.png", "samples/misclassified.png"):
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 10  # not blank
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["facts"]["normalization"]["mean"] == pytest.approx([4.888], abs=1e-3)


def test_from_a_notebook(tmp_path):
    flags = {"model": "mlp", "hidden": (16,), "steps": 3, "workdir": str(tmp_path)}
    config = configure(ClassifierConfig(), **flags)
    result = train(build, config)
    assert (result.step, result.finished, result.trained) == (3, True, True)
    again = train(build, config)
    assert (again.trained, again.scores) == (False, result.scores)
    assert set(again.scores["test"]) == set(KEYS)
    a, b = (jax.tree.leaves(r.state["params"]) for r in (result, again))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    with pytest.raises(InputError, match="steps = 0"):
        train(build, configure(config, steps=0))


@pytest.mark.slow
def test_best_checkpoint_can_be_evaluated(tmp_path):
    flags = ["--workdir", tmp_path, "--model", "mlp", "--steps", 60, "--eval-every", 10]
    flags += ["--mesh", "data=1"]
    assert _run(*flags)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = [(line["accuracy"], -line["step"]) for line in lines if line["split"] == "validation"]
    code, out, _ = _run("--workdir", tmp_path, "--mode", "evaluate", "--checkpoint", "best")
    assert (code, _summary(out)["step"]) == (0, str(-max(scores)[1]))
    assert _summary(out)["validation/accuracy"] == f"{max(scores)[0]:.5g}"


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--precision bfloat16 --batch-norm --label-smoothing 0.1 --accumulate 2",
        slow("--optimizer muon --schedule warmup_cosine --warmup-steps 1 --clip 1"),
        slow("--optimizer lion --schedule step --weight-decay 0.1 --ema 0.9"),
    ],
)
def test_every_kind_of_flag(tmp_path, flags):
    code, out, _ = _run("--workdir", tmp_path, *SMALL, "--model", "cnn", *flags.split())
    assert (code, _summary(out)["step"]) == (0, "2")


@pytest.mark.slow
def test_a_users_own_data_set(tmp_path):
    generator = np.random.default_rng(0)
    labels = {"train": [0, 1] * 30, "test": [0, 1] * 10}
    splits = {
        name: [
            (generator.integers(0, 99, (9, 7, 3)) + 99 * label).astype(np.uint8) for label in values
        ]
        for name, values in labels.items()
    }
    write_image_dataset(tmp_path, "day_or_night", splits, labels, classes=2)
    code, out, _ = _run(
        "--data", "day_or_night", "--data-dir", tmp_path, "--workdir", tmp_path / "run",
        "--model", "cnn", "--steps", 30, "--batch-size", 32, "--mesh", "data=1",
    )  # fmt: skip
    assert code == 0
    assert float(_summary(out)["test/accuracy"]) == 1
    assert not (tmp_path / "run/samples/misclassified.png").exists()


@pytest.mark.slow
def test_a_folder_of_images_streamed_on_all_devices(tmp_path):
    """JPEGs of several sizes: cut at random, augmented, on a ResNet under pmap; then evaluated
    under jit."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 16)):
        for number in range(2 * count):
            name = ("day", "night")[number % 2]
            shape = (24 + number % 5, 30, 3)
            pixels = generator.integers(0, 99, shape) + (130 if name == "day" else 0)
            path = tmp_path / "sky" / split / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    flags = ["--data", tmp_path / "sky", "--workdir", tmp_path / "run"]
    recipe = [
        "--image-size",
        16,
        "--model",
        "resnet",
        "--variant",
        "tiny",
        "--flip",
        "--mixup",
        0.2,
    ]
    code, out, _ = _run(
        *flags, *recipe, "--steps", 30, "--batch-size", 16, "--learning-rate", 0.01,
        "--validation-fraction", 0.2, "--parallel", "pmap", "--ema", 0.9, "--mixup", 0.2,
    )  # fmt: skip
    assert code == 0
    summary = _summary(out)
    assert float(summary["test/accuracy"]) == 1
    assert (tmp_path / "run/report.html").exists()
    speed = [json.loads(line) for line in (tmp_path / "run/speed.jsonl").read_text().splitlines()]
    assert all(0 <= line["waiting"] <= 1 for line in speed)
    code, out, _ = _run("--workdir", tmp_path / "run", "--mode", "evaluate", "--parallel", "jit")
    assert (code, _summary(out)["test/loss"]) == (0, summary["test/loss"])


BAD = {
    "model = cnnn": (["--model", "cnnn"], "unknown model 'cnnn'; did you mean 'cnn'?"),
    "preset": (["--preset", "nett"], "unknown preset 'nett'; did you mean 'net'?"),
    "data": (["--data", "digitz"], "unknown data 'digitz'; did you mean 'digits'?"),
    "optimizer": (["--optimizer", "adan"], "unknown optimizer 'adan'; did you mean 'adam'?"),
    "schedule": (["--schedule", "cos"], "unknown schedule 'cos'"),
    "flag": (["--lerning-rate", "1"], "--lerning-rate"),
    "near flag": (["--lerning-rate", "1"], "--learning-rate"),
    "type": (["--steps", "1e-3"], "--steps"),
    "no whole number": (["--steps", "1.5e0"], "--steps"),
    "choice": (["--precision", "float16"], "bfloat16"),
    "nan": (["--learning-rate", "nan"], "learning_rate = nan; expected a finite number >= 0"),
    "infinite": (["--weight-decay", "inf"], "weight_decay = inf; expected a finite number >= 0"),
    "negative": (["--clip", "-1"], "clip = -1.0; expected a finite number >= 0"),
    "dropout": (["--dropout", "1"], "dropout = 1.0; expected below 1, at least 0"),
    "smoothing": (["--label-smoothing", "-0.1"], "label_smoothing = -0.1"),
    "period": (["--eval-every", "0"], "eval_every = 0; expected at least 1"),
    "steps": (["--steps", "-5"], "steps = -5; expected at least 1"),
    "batch": (["--batch-size", "0"], "batch_size = 0; expected at least 1"),
    "large batch": (["--batch-size", "1288"], "expected at most the 1280 training examples"),
    "devices": (["--batch-size", "100"], "expected a multiple of the 8 devices, as 96"),
    "hidden": (["--hidden", "0"], "hidden = (0,)"),
    "accumulate": (["--accumulate", "3"], "accumulate = 3; expected a divisor of batch_size"),
    "seed": (["--seed", "-1"], "seed = -1; expected 0 <= seed"),
    "sample": (["--mode", "sample"], "holds no run"),
    "evaluate": (["--mode", "evaluate"], "holds no run"),
    "loading": (["--loading", "streamed"], "data 'digits' lies in arrays and cannot be streamed"),
    "image size": (["--image-size", "-2"], "image_size = -2; expected at least 0"),
    "resident cut": (["--image-size", "8", "--loading", "resident"], "image_size = 8, loading"),
    "workers": (["--workers", "-1"], "workers = -1; expected at least 0"),
    "bad records": (["--skip-bad-records", "-1"], "skip_bad_records = -1; expected at least 0"),
    "fraction": (["--validation-fraction", "1"], "expected at least 0 and below 1"),
    "has validation": (["--validation-fraction", "0.1"], "has a validation split already"),
    "folder": (["--data", "./nothing"], "data './nothing' is no folder"),
    "variant": (["--model", "resnet", "--variant", "19"], "unknown variant '19'"),
    "option": (["--model", "resnet", "--hidden", "5"], "model 'resnet' has no such option"),
    "no variant": (["--variant", "18"], "'cnn' has no such option: --model resnet or"),
    "patch": (["--model", "vit", "--patch", "3"], "image size 8x8; expected a multiple"),
    "magnitude": (["--rand-augment-magnitude", "31"], "0 <= rand_augment_magnitude <= 30"),
    "mixup": (["--mixup", "-1"], "mixup = -1.0"),
    "parallel": (["--parallel", "pmapp"], "pmap"),
    "epoch lines": (["--epoch-lines"], "log_every = 50; expected the steps of an epoch"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, case, monkeypatch):
    if case == "devices" and jax.device_count() != 8:
        pytest.skip("needs 8 devices")
    monkeypatch.chdir(tmp_path)
    flags, message = BAD[case]
    code, out, error = _run(*flags, "--data-dir", tmp_path)
    assert code == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_bad_data_and_folders(tmp_path):
    images = list(np.zeros((40, 4, 4, 1), np.uint8))
    write_image_dataset(tmp_path, "unlabelled", {"train": images})
    code, _, error = _run(
        "--data", "unlabelled", "--data-dir", tmp_path, "--workdir", tmp_path / "run"
    )
    assert (code, "'unlabelled' has no labels" in error) == (2, True)
    (tmp_path / "file").write_text("mine")
    code, _, error = _run("--workdir", tmp_path / "file")
    assert (code, "is a file; expected a folder" in error) == (2, True)
    code, _, error = _run("--workdir", tmp_path)
    assert (code, "is no run folder and not empty" in error) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_run_is_refused_and_kept(tmp_path):
    flags = ["--workdir", tmp_path, *SMALL]
    assert _run(*flags)[0] == 0
    before = (tmp_path / "metrics.jsonl").read_bytes()
    code, _, error = _run(*flags, "--learning-rate", 0.5)
    assert (code, "learning_rate 0.001 -> 0.5" in error) == (2, True)
    code, _, error = _run(*flags, "--steps", 3)
    assert (code, "steps 2 -> 3 (the schedule 'cosine' ends at steps)" in error) == (2, True)
    code, _, error = _run("--workdir", tmp_path, "--mode", "evaluate", "--dropout", 0.1)
    assert (code, "dropout None -> 0.1" in error) == (2, True)
    code, _, error = _run("--workdir", tmp_path, "--mode", "sample", "--output", tmp_path / "s.npz")
    assert (code, "classifier has nothing to sample" in error) == (2, True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert _run(*flags, "--learning-rate", 0.5, "--overwrite")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("parts", [campaign(2), 1])
def test_a_diverging_run_fails_with_advice_and_debug_names_the_layer(tmp_path, parts):
    flags = ["--model", "mlp", "--optimizer", "sgd", "--learning-rate", 1e25, "--dropout", 0]
    flags += ["--mesh", "data=1"]
    flags += ["--accumulate", parts]
    code, _, error = _run("--workdir", tmp_path / "run", *flags)
    assert code == 1
    assert error.splitlines()[-1].startswith("failed: train loss is not finite")
    assert "--debug" in error
    # The folder knows the flags.
    code, _, error = _run("--workdir", tmp_path / "run", "--debug")
    assert code == 1
    assert re.search(r"step \d+ is not finite: MLP/Dense_\d.* pass: '\w+' gave (nan|inf)", error)


@pytest.mark.slow
def test_a_bare_option_goes_to_the_model_that_is_named(tmp_path):
    """And with its full name; only the chosen model's options are recorded."""
    for name, flags in (
        ("bare", ["--hidden", "16", "--batch-norm"]),
        ("full", ["--mlp.hidden", "16", "--mlp.batch-norm"]),
    ):
        command = ["--workdir", tmp_path / name, "--model", "mlp", *flags, "--steps", 1]
        command += ["--mesh", "data=1"]
        assert _run(*command)[0] == 0
    records = [json.loads((tmp_path / n / "config.json").read_text()) for n in ("bare", "full")]
    assert records[0]["identity"] == records[1]["identity"]
    assert records[0]["config"]["hidden"] == [16]
    assert "patch" not in records[0]["config"]
    assert "--model mlp" in records[0]["command"]
    assert "--hidden 16 --batch-norm" in records[0]["command"]


@pytest.mark.slow
def test_flags_from_a_file_and_from_another_run(tmp_path):
    (tmp_path / "flags.yaml").write_text("model: mlp\nhidden: [16]\nsteps: 2\nlog-every: 1\n")
    for name in ("yaml", "again"):
        source = tmp_path / "flags.yaml" if name == "yaml" else tmp_path / "yaml/config.json"
        steps = [] if name == "yaml" else ["--steps", "1e1", "--log-every=5"]
        code, out, error = _run("--config", source, "--workdir", tmp_path / name, *steps)
        assert code == 0, error
        assert _summary(out)["step"] == ("2" if name == "yaml" else "10")
    (tmp_path / "bad.yaml").write_text("lerning-rate: 1\n")
    code, _, error = _run("--config", tmp_path / "bad.yaml")
    assert (code, "unknown flag 'lerning_rate'; did you mean 'learning_rate'?" in error) == (
        2,
        True,
    )
    code, _, error = _run("--config", tmp_path / "none.yaml")
    assert (code, "none.yaml cannot be read" in error) == (2, True)


@pytest.mark.slow
def test_a_run_in_the_old_format_still_opens(tmp_path):
    """Its record has the flags of all models, with empty values for the architecture's own."""
    flags = ["--workdir", tmp_path, *SMALL]
    assert _run(*flags)[0] == 0
    path = tmp_path / "config.json"
    record = json.loads(path.read_text())
    record["config"] |= {"variant": "", "patch": 0, "gone": 3}
    record["identity"] |= {"variant": "", "patch": 0, "gone": 3}
    del record["format"], record["scores"]
    path.write_text(json.dumps(record))
    assert _run("--workdir", tmp_path, "--mode", "evaluate")[0] == 0
    assert "is finished" in _run(*flags)[1]


def test_a_single_class_is_nothing_to_classify(tmp_path):
    for row in range(2):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), row).save(tmp_path / "photos" / "cat" / f"{row}.png")
    code, _, error = _run("--data", tmp_path / "photos", "--workdir", tmp_path / "run", *SMALL)
    assert code == 2 and "has one class, 'cat'; a classifier needs two or more" in error


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        main(ClassifierConfig, build, PRESETS, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in ("--data", "--learning-rate", "--eval-every", "--overwrite", "--label-smoothing"):
        assert name in text
    assert "Peak learning rate" in text
    for group in ("run", "data", "optimizer", "augmentation", "mlp", "cnn", "resnet", "vit"):
        assert f"{group} options" in text
    assert "Presets: net, fashion-tiny" in " ".join(text.split())
