"""The pages as text: what they say, what they leave out, and that names stay names."""

import json
import subprocess
import sys

import pytest

from jaxmodels.report import write_comparison, write_report
from jaxmodels.report.__main__ import main
from jaxmodels.report.charts import thin
from jaxmodels.report.html import element, embedded_json
from jaxmodels.report.run import read_run
from tests.report.folders import (
    ATTACK,
    CLOSING,
    QUOTES,
    hostile_run,
    write_lines,
    write_picture,
    write_run,
)
from tests.report.page import Page


def test_a_run_is_told_from_its_files(tmp_path):
    page = Page(write_report(write_run(tmp_path / "run")))
    text = page.rows()
    assert "classifier run digits · cnn run finished" in text
    assert "test accuracy 0.9 step 100, higher is better" in text
    cells = [attributes for tag, attributes in page.elements if "data-label" in attributes]
    assert {"class": "number none", "data-label": "train"} in cells  # accuracy has no such line
    # The last validation is worse than the one before, which chose the checkpoint.
    assert "best validation accuracy 0.8938 step 80, the best checkpoint" in text
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
        assert tag != "audio" or attributes["src"].startswith("data:audio/wav;base64,")
        assert "src" not in attributes or tag in ("img", "audio")
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
    for lost in ("command", "monitor", "scores", "facts", "environment", "source"):
        record.pop(lost)
        (folder / "config.json").write_text(json.dumps(record))
        write_report(folder)
    assert "unknown" in Page(folder / "report.html").text
    evaluation = {"test": {"per_class": {"a": {}, "b": 1}, "confusion": [[1], []], "step": None}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    write_report(folder)
    for damaged in ([], {"loss": 1}, {"loss": {"better": [], "unit": 3, "meaning": None}}):
        (folder / "config.json").write_text(json.dumps(record | {"scores": damaged}))
        write_report(folder)


def test_a_run_that_recorded_no_command_and_monitor_is_read(tmp_path):
    folder = write_run(tmp_path / "run", command=None, monitor=None)
    text = Page(write_report(folder)).rows()
    assert "recorded before commands were" in text
    assert "test loss 0.5 nats step 100, lower" in text


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


def test_the_command_line(tmp_path, capsys):
    runs = [str(write_run(tmp_path / name)) for name in ("a", "b")]
    assert main(runs[:1]) == 0 and (tmp_path / "a" / "report.html").exists()
    assert main([*runs, "--output", str(tmp_path / "new" / "all.html")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "a" / "report.html"),
        "a: test/accuracy 0.9, seed 0",
        "b: test/accuracy 0.9, seed 0",
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


def test_units_and_meanings_are_shown_where_scores_are_listed(tmp_path):
    page = Page(write_report(write_run(tmp_path / "run")))
    assert "loss nats cross-entropy of the labels 0.5" in page.rows()
    meaning = "cross-entropy of the labels"
    assert ("th", {"scope": "row", "title": meaning}) in page.elements
    assert ("span", {"title": meaning}) in page.elements  # the caption of the chart
    units = [chart["unit"] for chart in json.loads(page.scripts[0])["curves"]]
    assert units == ["", "nats"]


def test_a_run_that_declares_nothing_claims_no_direction_but_the_monitors(tmp_path):
    text = Page(write_report(write_run(tmp_path / "a", scores=None))).rows()
    assert "test accuracy 0.9 step 100, higher is better" in text
    assert "best validation accuracy 0.8938 step 80, the best checkpoint" in text
    text = Page(write_report(write_run(tmp_path / "b", scores=None, monitor=None))).rows()
    assert "test loss 0.5 step 100 steps" in text
    assert "is better" not in text and "best validation" not in text


def test_rates_of_steps_and_of_examples_agree(tmp_path):
    """Over an even number of lines whose rates differ, and with two batches to a step."""
    folder = write_run(tmp_path / "run")
    rates = [10.0, 40.0, 20.0, 90.0]
    lines = [
        {"step": n, "seconds": n, "steps_per_second": rate, "examples_per_second": rate * 64}
        for n, rate in enumerate(rates)
    ]
    write_lines(folder / "speed.jsonl", lines)
    run = read_run(folder)
    assert (run.steps_per_second, run.examples_per_second) == (30.0, 1920.0)
    assert "steps per second 30 1,920 examples per second" in Page(write_report(folder)).rows()
    write_lines(folder / "speed.jsonl", [line | {"examples_per_second": None} for line in lines])
    assert read_run(folder).examples_per_second is None
    assert "steps per second 30 median" in Page(write_report(folder)).rows()


def test_the_share_of_the_peak_says_what_it_counts(tmp_path):
    folder = write_run(tmp_path / "run")
    assert "MFU" not in Page(write_report(folder)).rows()
    lines = [
        {"step": n, "seconds": n, "steps_per_second": 9.0, "mfu": 0.4, "tokens_per_second": 9000.0}
        for n in (1, 2)
    ]
    write_lines(folder / "speed.jsonl", lines)
    text = Page(write_report(folder)).rows()
    counts = "causal attention half, nothing that is computed again."
    assert f"MFU is a share of the chip's peak in dense bfloat16, and counts {counts}" in text
    assert "tokens per second" in text


def test_a_run_without_validation_and_test_says_so(tmp_path):
    folder = write_run(tmp_path / "run")
    words = "all scores are of training examples"
    assert words not in Page(write_report(folder)).rows()
    lines = [{"step": step, "split": "train", "loss": 1.0} for step in (50, 100)]
    write_lines(folder / "metrics.jsonl", lines)
    assert words in Page(write_report(folder)).rows()
    write_lines(folder / "metrics.jsonl", lines[:1])  # validation may be due yet
    assert words not in Page(write_report(folder)).rows()


def test_the_best_checkpoint_is_no_split(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    report = evaluation["test"]
    text = Page(write_report(folder)).rows()
    assert "Protocol" not in text and text.count("Confusion matrix") == 1
    best = report | {"step": 80, "scores": {"accuracy": 0.89375}, "protocol": {"samples": 64}}
    path.write_text(json.dumps(evaluation | {"best": best}))
    text = Page(write_report(folder)).rows()
    assert text.count("Confusion matrix") == 1
    assert "How the scores were taken. best, step 80 accuracy 0.89375 samples 64" in text


def test_misclassified_files_are_named_and_linked_where_they_are(tmp_path):
    run = write_run(tmp_path / "run", config={"data": "./photos"}, directory=str(tmp_path))
    write_picture(tmp_path / "photos" / "cat" / "1.png")
    evaluation = json.loads((run / "evaluation.json").read_text())
    mistake = {"true": "cat", "predicted": "dog", "confidence": 0.987}
    names = ("cat/1.png", "cat/gone.png", "<b>")
    evaluation["test"]["misclassified"] = [{"input": name} | mistake for name in names]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = Page(write_report(run))
    assert "3 misclassified files" in page.text and "cat/gone.png cat dog 0.99" in page.rows()
    links = [a["href"] for tag, a in page.elements if tag == "a" and "file:" in a["href"]]
    assert links == [(tmp_path / "photos" / "cat" / "1.png").as_uri()]
    assert f"cd {tmp_path} && python -m experiments.classifier" in page.rows()
