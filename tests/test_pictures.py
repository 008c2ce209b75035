"""Pictures: whatever is drawn lies in the file."""

import numpy as np
import pytest
from PIL import Image

from jaxmodels.pictures import confusion_figure, image_grid, in_pairs, save_figure, scatter_figure

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


def test_pairs_stand_above_one_another():
    above, below = np.arange(5), np.arange(5) + 10
    assert in_pairs(above, below, columns=3).tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 13, 14]


def test_a_confusion_is_darkest_where_a_whole_class_lies(tmp_path):
    confusion = np.array([[9, 0], [5, 5]])
    pixels = pixels_of(confusion_figure(confusion, ["cat", "dog"]), tmp_path / "new" / "c.png")
    whole, half = np.array([8, 48, 107]), np.array([107, 174, 214])
    assert (np.abs(pixels - whole).max(-1) < 3).sum() > 1000
    assert (np.abs(pixels - half).max(-1) < 3).sum() > 2000
