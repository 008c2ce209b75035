"""What is shown of a detector's evaluation, and pictures with the boxes of predictions."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from experiments import draw_detections
from experiments.reports.detection import AP_SCORES, report, worst_first
from experiments.reports.detection_figures import COLOURS
from jaxmodels.data.boxes import BoxConfig, load_boxes
from jaxmodels.data.boxes.annotations import Annotations, annotation
from jaxmodels.data.images.decoding import opencv
from jaxmodels.metrics.detection_errors import verdicts
from tests.data.boxes import files


@pytest.fixture(scope="module")
def data():
    given = {
        split: dict(zip(("image", "boxes", "labels"), zip(*some)))
        for split, some in files.splits(2, 3).items()
    }
    return load_boxes(BoxConfig(image_size=files.CANVAS), given)


def detections(data, split, right):
    """Two detections a picture: its first object, right in some pictures, and nothing."""
    truth = data.truth(split)
    boxes = np.zeros((len(truth), 2, 4), np.float32)
    labels = np.full((len(truth), 2), -1)
    for row, true in enumerate(truth):
        boxes[row, 0], labels[row, 0] = true.boxes[0], true.labels[0]
        if not right[row]:
            boxes[row, 0] += 100
    return SimpleNamespace(boxes=boxes, labels=labels, scores=np.full(labels.shape, 0.5, "f4"))


def evaluated(data, found, occasion):
    evaluation = SimpleNamespace(
        step=7, split="test", occasion=occasion, map=lambda predict: predict
    )
    return report(data, found, evaluation)


def test_scores_records_and_pictures(data):
    found = detections(data, "test", [True, False, True])
    findings = evaluated(data, found, "last")
    assert findings.scores.keys() == AP_SCORES.keys()
    assert evaluated(data, found, "due").scores == pytest.approx(findings.scores)
    assert evaluated(data, found, "due").record is None
    record = json.loads(json.dumps(findings.record, allow_nan=False))
    assert record["errors"]["background"]["count"] == 1 and record["score_threshold"] == 0.5
    assert record["worst"][0] == {"input": "1", "mistakes": 3}
    assert set(record["per_class"]) == set(data.class_names)
    assert record["per_class"]["0"]["support"] == data.counts("test")[0]
    for name, draw in findings.pictures.items():
        assert draw().axes, name


def test_a_split_without_objects_has_no_average_precision(data, capsys):
    truth = data.annotations["test"]
    empty = Annotations([annotation([], [])] * len(truth), truth.sizes)
    without = replace(data, annotations={**data.annotations, "test": empty})
    found = detections(data, "test", [True] * 3)
    for occasion in ("due", "last"):
        findings = evaluated(without, found, occasion)
        assert np.isnan(list(findings.scores.values())).all() and len(findings.scores) == 3
        assert "note: test has no objects to find" in capsys.readouterr().err
    record = json.loads(json.dumps(findings.record, allow_nan=False))
    assert record["ap"] is record["ap50"] is record["errors"]["background"]["cost"] is None
    assert record["errors"]["background"]["count"] == 3
    for name, draw in findings.pictures.items():
        assert draw().axes, name


def test_all_true_boxes_are_drawn_and_told_apart(data):
    found = detections(data, "test", [True, False, True])
    figure = evaluated(data, found, "last").pictures["detections"]()
    lines = {text.get_text(): line for text, line in legend_of(figure)}
    assert set(lines) == set(COLOURS)
    drawn = Counter()
    for panel in figure.axes:
        for box in panel.patches:
            [name] = [n for n, line in lines.items() if same_line(box, line)]
            drawn[name] += 1
    objects = sum(len(true.labels) for true in data.truth("test"))
    assert drawn["hit"] == drawn["true, hit or a crowd"] == 2
    assert drawn["true, missed"] == objects - 2 and drawn["background"] == 1


def legend_of(figure):
    [legend] = figure.legends
    return list(zip(legend.get_texts(), legend.get_lines()))


def same_line(box, line):
    """Whether a box is drawn as a line of the legend is."""
    return (
        to_hex(box.get_edgecolor()) == to_hex(line.get_color())
        and box.get_linestyle() == line.get_linestyle()
        and box.get_linewidth() == line.get_linewidth()
    )


def test_a_split_without_detections_scores_zero(data):
    found = detections(data, "test", [True] * 3)
    found.labels[:] = -1
    assert set(evaluated(data, found, "last").scores.values()) == {0.0}


def test_pictures_with_a_smaller_share_of_hits_come_first(data):
    found = detections(data, "test", [True, False, True])
    order, mistakes = worst_first(found, verdicts(found, data.truth("test")), 0.5)
    assert order.tolist() == [1, 0, 2] and mistakes.tolist() == [0, 3, 0]


def test_boxes_of_predictions_are_drawn(tmp_path, capsys):
    pixels = np.full((40, 60, 3), 200, np.uint8)
    files.png(tmp_path / "new" / "a" / "0.png", pixels)
    lines = [
        {"input": "a/0.png", "boxes": [[5, 20, 30, 35]], "labels": ["cat"], "scores": [0.8]},
        {"input": "a/1.png", "error": "cannot be decoded"},
    ]
    predictions = tmp_path / "new.jsonl"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [str(predictions), str(tmp_path / "new"), str(tmp_path / "drawn")]
    assert draw_detections.main(arguments) == 0
    assert "drew 1 pictures" in capsys.readouterr().out
    drawn = opencv().imread(str(tmp_path / "drawn" / "a" / "0.png.png"))
    changed = (drawn != 200).any(-1)
    assert changed[34, 5:30].all() and changed[20:35, 29].all() and not changed[37:].any()
    assert draw_detections.main([*arguments, "--least", "0.9"]) == 0
    assert (opencv().imread(str(tmp_path / "drawn" / "a" / "0.png.png")) == 200).all()


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"input": "../x.png", "boxes": [], "labels": [], "scores": []}', "[1]"]
)
def test_lines_that_are_no_predictions_are_refused(line, tmp_path, capsys):
    (tmp_path / "new.jsonl").write_text(line)
    arguments = [str(tmp_path / "new.jsonl"), str(tmp_path), str(tmp_path / "drawn")]
    assert draw_detections.main(arguments) == 2
    assert "line 1" in capsys.readouterr().err
