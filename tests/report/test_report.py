"""The pages as text: what they say, what they leave out, and that names stay names."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from jaxmodels.errors import InputError
from jaxmodels.report import write_comparison, write_report
from jaxmodels.report.__main__ import main
from jaxmodels.report.charts import thin
from jaxmodels.report.comparison import short_names
from jaxmodels.report.html import element, embedded_json
from jaxmodels.report.pictures import pictures_of
from jaxmodels.report.run import read_run
from jaxmodels.report.scores import lower_is_better
from tests.report.folders import (
    ATTACK,
    CLOSING,
    QUOTES,
    hostile_run,
    write_lines,
    write_picture,
    write_run,
)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of script and style."""

    def __init__(self, path):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text, self.scripts, self._inside = "", [], None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data + " "

    def rows(self) -> str:
        return " ".join(self.text.split())


def test_a_run_is_told_from_its_files(tmp_path):
    page = Page(write_report(write_run(tmp_path / "run")))
    text = page.rows()
    assert "classifier run digits · cnn run finished" in text
    assert "test accuracy 0.9 step 100, higher is better" in text
    # The last validation is worse than the one before, which chose the checkpoint.
    assert "best validation accuracy 0.89375 step 80, the best checkpoint" in text
    assert "python -m experiments.classifier --steps 100" in text
    assert "training time 2 s" in text and "steps per second 50" in text
    assert "1 of 7 wrong" in text
    data = json.loads(page.scripts[0])
    assert [chart["title"] for chart in data["curves"]] == ["accuracy", "loss"]
    loss = data["curves"][1]
    assert loss["log"] and [line["name"] for line in loss["series"]] == [
        "train",
        "validation",
        "test",
    ]
    assert loss["series"][0]["x"] == list(range(10, 101, 10))


@pytest.mark.parametrize("several", [False, True])
def test_names_stay_names(tmp_path, several):
    runs = [hostile_run(tmp_path / name, source=name) for name in ("one<i>", "two</b>")]
    if several:
        path = write_comparison(runs, tmp_path / "comparison.html")
    else:
        path = write_report(runs[0])
    page = Page(path)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2 and "i" not in tags and "b" not in tags
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "img" or attributes["src"].startswith("data:image/png;base64,")
        assert "href" not in attributes or attributes["href"].startswith(("#", "data:,"))
    for text in (ATTACK, CLOSING, QUOTES):
        assert text in page.text
    assert CLOSING in json.dumps(json.loads(page.scripts[0]), ensure_ascii=False)
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_markup_is_made_of_elements_only():
    assert (
        element("p", "<", element("b", "&"), class_='"') == '<p class="&quot;">&lt;<b>&amp;</b></p>'
    )
    assert embedded_json("</script><!--&") == '"\\u003c/script\\u003e\\u003c!--\\u0026"'
    with pytest.raises(ValueError):
        embedded_json(float("nan"))


def test_what_is_missing_or_damaged_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "speed.jsonl", "evaluation.json"):
        content = (folder / name).read_text()
        (folder / name).write_text(content[: len(content) // 2])
        write_report(folder)
        (folder / name).write_text('[1]\n{"step": "x", "split": 3}\nnull\n')
        write_report(folder)
        (folder / name).unlink()
        write_report(folder)
    assert "0 all" not in Page(folder / "report.html").rows()
    record = json.loads((folder / "config.json").read_text())
    for lost in ("command", "monitor", "facts", "environment", "source"):
        record.pop(lost)
        (folder / "config.json").write_text(json.dumps(record))
        write_report(folder)
    assert "unknown" in Page(folder / "report.html").text
    evaluation = {"test": {"per_class": {"a": {}, "b": 1}, "confusion": [[1], []], "step": None}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    write_report(folder)


def test_a_run_that_recorded_no_command_and_monitor_is_read(tmp_path):
    folder = write_run(tmp_path / "run", command=None, monitor=None)
    text = Page(write_report(folder)).rows()
    assert "recorded before commands were" in text and "test loss 0.5 step 100, lower" in text


def test_numbers_that_are_not_finite_are_shown_as_such(tmp_path):
    folder = write_run(tmp_path / "run")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 110, "split": "train", "loss": null}\n')
    (folder / "evaluation.json").write_text('{"test": {"step": 1, "protocol": {"a": NaN}}}')
    page = Page(write_report(folder))
    assert "not finite at step 110" in page.text
    assert json.loads(page.scripts[0])["curves"][1]["series"][0]["y"][-1] is None


def test_seconds_add_up_over_the_calls_of_a_run(tmp_path):
    folder = write_run(tmp_path / "run")
    rate = {"steps_per_second": 1.0, "examples_per_second": 1.0}
    seconds = [(10, 5.0), (20, 10.0), (15, 2.0), (20, 4.0), (30, 9.0)]
    write_lines(folder / "speed.jsonl", [{"step": s, "seconds": t, **rate} for s, t in seconds])
    assert read_run(folder).seconds == 19.0


def test_pictures_are_in_the_page_up_to_a_limit(tmp_path):
    samples = write_run(tmp_path / "run") / "samples"
    for step in range(0, 900, 100):
        write_picture(samples / f"step-{step:08d}.png")
    for name in ("misclassified", "confusion"):
        write_picture(samples / f"{name}.png")
    (samples / "broken.png").write_text("no picture")
    paths = sorted(samples.glob("*.png"))
    every = pictures_of(paths, set())
    assert every.count("<img") == 11 and "broken.png" in every
    # The matrix is a table in the page; its picture would say it twice.
    page = write_report(tmp_path / "run").read_text()
    assert page.count("<img") == 10 and "Most confidently wrong" in page
    size = paths[-1].stat().st_size
    some = pictures_of(paths, {"confusion", "broken"}, most=4 * size + 50)
    assert some.count("<img") == 4
    for kept in ("800", "0", "400"):
        assert f'data-step="{kept}"' in some
    assert "step-00000100.png" in some and "Left out" in some


def test_many_classes_are_told_by_their_confusions(tmp_path):
    names = tuple(f"class {number}" for number in range(60))
    text = Page(write_report(write_run(tmp_path / "run", class_names=names))).rows()
    assert "Commonest confusions" in text and "true predicted count class 0 class 1 1" in text


def test_thinning_keeps_every_peak_and_the_ends():
    points = [(step, float(step % 7)) for step in range(100_000)]
    points[777], points[888] = (777, 1e6), (888, None)
    kept = thin(points, 1000)
    assert len(kept) <= 1100 and kept[0][0] == 0 and kept[-1][0] == 99_999
    assert (777, 1e6) in kept and (888, None) in kept
    assert thin(points[:1000], 1000) == points[:1000]


def test_runs_are_sorted_and_only_what_differs_is_shown(tmp_path):
    runs = [
        write_run(tmp_path / name, accuracy, config={"learning_rate": rate, "dropout": 0.5})
        for name, accuracy, rate in (("low", 0.7, 0.1), ("high", 0.95, 0.2), ("middle", 0.8, 0.3))
    ]
    page = Page(write_comparison(runs, tmp_path / "all.html"))
    text = page.rows()
    assert "Sorted by the last test/accuracy; higher is better." in text
    table = text.split("Sorted by", 1)[1].split("Differences")[0]
    assert table.index("high cnn") < table.index("middle cnn") < table.index("low cnn")
    differences = text.split("Config", 1)[1]
    assert "learning_ rate 0.2 0.3 0.1" in differences and "dropout" not in differences
    curves = json.loads(page.scripts[0])["curves"]
    assert [chart["title"] for chart in curves] == [
        "validation/accuracy",
        "validation/loss",
        "train/loss",
    ]
    assert [line["name"] for line in curves[0]["series"]] == ["high", "middle", "low"]
    text = Page(write_comparison(runs, tmp_path / "all.html", "test/accuracy", lower=True)).rows()
    table = text.split("lower is better", 1)[1]
    assert table.index("low cnn") < table.index("high cnn")


def test_the_metric_of_a_comparison_must_be_there(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(InputError, match=r"unknown metric 'test/acuracy'; did you mean 'test/acc"):
        write_comparison(runs, tmp_path / "all.html", "test/acuracy")
    with pytest.raises(InputError, match="given twice"):
        write_comparison([runs[0], runs[0] / ".." / "a"], tmp_path / "all.html")
    for run in runs:
        (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="no scores yet"):
        write_comparison(runs, tmp_path / "all.html")


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert short_names(paths) == ["x/run", "y/run"]
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


def test_the_direction_of_a_score_is_guessed_by_its_name():
    lower = ("loss", "test/nll", "frechet_classifier", "kid", "ece", "bits_per_dim", "kl")
    assert all(map(lower_is_better, lower))
    higher = ("accuracy", "elbo", "recall", "coverage", "active_units", "closeness")
    assert not any(map(lower_is_better, higher))


def test_the_command_line(tmp_path, capsys):
    runs = [str(write_run(tmp_path / name)) for name in ("a", "b")]
    assert main(runs[:1]) == 0 and (tmp_path / "a" / "report.html").exists()
    assert main([*runs, "--output", str(tmp_path / "new" / "all.html")]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "a" / "report.html"),
        str(tmp_path / "new" / "all.html"),
    ]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": ["Bert"]}')
    for folder in ("other", "nowhere"):
        assert main([str(tmp_path / folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: run {tmp_path / folder} ") and error.count("\n") == 1
    assert main([*runs, "--metric", "test/nothing"]) == 2
    assert main([]) == 2


def test_it_needs_neither_jax_nor_matplotlib():
    code = "import sys, jaxmodels.report; print(*{'jax', 'matplotlib'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
