"""Pictures: whatever is drawn lies in the file."""

import numpy as np
import pytest
from PIL import Image

from jaxmodels.pictures import draw_scatter


@pytest.mark.parametrize("dimensions, classes", [(1, 0), (1, 3), (2, 0), (2, 3), (2, 15), (2, 30)])
def test_points_are_drawn_in_the_colours_of_their_classes(dimensions, classes, tmp_path):
    """Where there are neither none nor too many; all are blue then."""
    points = np.random.default_rng(0).normal(size=(40, dimensions))
    labels = np.arange(40) % classes if classes else None
    path = tmp_path / "new" / "points.png"
    draw_scatter(points, path, labels, tuple(map(str, range(classes))), "title")
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    assert np.any(pixels[:, 2] - pixels[:, 0] > 60)
    assert np.any(pixels[:, 0] - pixels[:, 2] > 30) == (classes in (3, 15))
