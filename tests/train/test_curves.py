"""The curves of a run."""

from jaxmodels.train.curves import COLOURS, OTHER_COLOURS, curves_figure


def test_each_split_of_a_score_has_a_curve_of_its_own():
    lines = [
        {"step": step, "split": split, "loss": 10.0**-step, "constant": 1.0}
        for step in (1, 2, 3, 4)
        for split in ("test", "newstest", "train")
    ]
    lines.append({"step": 5, "split": "train", "loss": None, "late": 2.0})
    figure = curves_figure(lines)
    assert figure is not None
    loss, constant, late = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["loss", "constant", "late"]
    assert [line.get_label() for line in loss.lines] == ["train", "test", "newstest"]
    assert [line.get_color() for line in loss.lines] == [
        COLOURS["train"],
        COLOURS["test"],
        OTHER_COLOURS[0],
    ]
    assert (loss.get_yscale(), constant.get_yscale()) == ("log", "linear")
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3, 4] and len(late.lines) == 1
    low, high = constant.get_ylim()
    assert low < 0.99 and high > 1.01


def test_lines_without_scores_have_no_curves():
    assert curves_figure([]) is None
    assert curves_figure([{"step": 1, "split": "train"}]) is None
