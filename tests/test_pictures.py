"""Pictures: whatever is drawn lies in the file."""

import numpy as np
import pytest
from PIL import Image

from jaxmodels.pictures import (
    confusion_figure,
    image_grid,
    in_pairs,
    prediction_figure,
    save_figure,
    scatter_figure,
)

pytestmark = pytest.mark.usefixtures("drawn")


def pixels_of(figure, path):
    """The colours of all pixels of a figure that was saved."""
    save_figure(figure, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing partial is left
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("dimensions, classes", [(1, 0), (1, 3), (2, 0), (2, 3), (2, 15), (2, 30)])
def test_points_are_drawn_in_the_colours_of_their_classes(dimensions, classes, tmp_path):
    """Where there are neither none nor too many; all are blue then."""
    points = np.random.default_rng(0).normal(size=(40, dimensions))
    labels = np.arange(40) % classes if classes else None
    figure = scatter_figure(points, labels, tuple(map(str, range(classes))), "title")
    pixels = pixels_of(figure, tmp_path / "new" / "points.png").reshape(-1, 3)
    assert np.any(pixels[:, 2] - pixels[:, 0] > 60)
    assert np.any(pixels[:, 0] - pixels[:, 2] > 30) == (classes in (3, 15))


@pytest.mark.parametrize("titles", [None, ("a", "b", "c")])
def test_images_lie_from_left_to_right_between_the_limits(titles, tmp_path):
    images = np.broadcast_to(np.array([0, 100, 255]).reshape(3, 1, 1, 1), (3, 8, 8, 1))
    figure = image_grid(images, titles, limits=(0, 200))
    pixels = pixels_of(figure, tmp_path / "new" / "grid.png")
    columns = pixels[:, :, 0].T
    black = np.flatnonzero((columns == 0).sum(1) > 20)
    grey = np.flatnonzero(((columns > 120) & (columns < 135)).sum(1) > 20)
    assert len(black) > 20 and len(grey) > 20 and black.mean() < grey.mean()


def test_black_and_white_pictures_are_both_seen_behind_what_is_transparent(tmp_path):
    """On a page of any colour: what is transparent gets a ground between the two."""
    images = np.zeros((3, 8, 8, 4), np.uint8)
    images[0, 2:6, 2:6, 3] = 255
    images[1, 2:6, 2:6] = 255
    pixels = pixels_of(image_grid(images, ("a", "b", "c")), tmp_path / "new" / "grid.png")
    for level in (0, 178, 255):
        assert (np.abs(pixels - level).max(-1) < 3).sum() > 200


def test_pairs_stand_above_one_another():
    above, below = np.arange(5), np.arange(5) + 10
    assert in_pairs(above, below, columns=3).tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 13, 14]


def test_a_confusion_is_darkest_where_a_whole_class_lies(tmp_path):
    confusion = np.array([[9, 0], [5, 5]])
    pixels = pixels_of(confusion_figure(confusion, ["cat", "dog"]), tmp_path / "new" / "c.png")
    whole, half = np.array([8, 48, 107]), np.array([107, 174, 214])
    assert (np.abs(pixels - whole).max(-1) < 3).sum() > 1000
    assert (np.abs(pixels - half).max(-1) < 3).sum() > 2000


GREY = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1), np.uint8)
FIGURES = {
    "grid": lambda: image_grid(GREY, title="title", columns=3, names="abc", rows="xy"),
    "titled": lambda: image_grid(GREY, list("abcdef"), title="title"),
    "confusion": lambda: confusion_figure(np.array([[9, 0], [5, 5]]), ["cat", "dog"], "title"),
    "scatter": lambda: scatter_figure(np.eye(3), np.arange(3), ("a", "b", "c"), "title"),
    "predictions": lambda: prediction_figure(np.arange(9.0), np.arange(9.0) + 1, "price", "title"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_around_a_picture_is_transparent_and_text_is_read_on_black_and_on_white(
    name, tmp_path
):
    save_figure(FIGURES[name](), tmp_path / "figure.png")
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGBA")).astype(int)
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()
    # The colour of text, which has at least 3:1 of contrast to both.
    ink = np.array([0x7B, 0x81, 0x8B])
    is_ink = (np.abs(pixels[..., :3] - ink).max(-1) <= 1) & (pixels[..., 3] == 255)
    assert is_ink.sum() > 20
    light = ((ink / 255 + 0.055) / 1.055) ** 2.4 @ [0.2126, 0.7152, 0.0722]
    assert min((light + 0.05) / 0.05, 1.05 / (light + 0.05)) > 3


def test_names_of_columns_and_rows_stand_beside_the_images(tmp_path):
    """Without them nothing but the images is drawn."""
    widths = {}
    for name, names in (("bare", {}), ("named", {"names": ["a"] * 3, "rows": ["long name"] * 2})):
        figure = image_grid(GREY, columns=3, **names)
        widths[name] = figure.get_size_inches()
        texts = [text.get_text() for panel in figure.axes for text in panel.texts]
        assert texts == names.get("names", []) + names.get("rows", [])
        pixels = pixels_of(figure, tmp_path / name / "grid.png")
        assert pixels.shape[:2] == tuple((widths[name] * 110).astype(int)[::-1])
    assert widths["named"][1] > widths["bare"][1]


def test_points_on_the_line_are_predicted_well(tmp_path):
    true = np.linspace(0, 10, 50)
    figure = prediction_figure(true, true, "price", "test")
    [panel] = figure.axes
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("true price", "predicted price")
    assert panel.lines[0].get_xydata().tolist() == [[0, 0], [10, 10]]
    pixels = pixels_of(figure, tmp_path / "new" / "p.png")
    assert (pixels[..., 2] - pixels[..., 0] > 60).sum() > 100
