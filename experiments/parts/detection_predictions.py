"""The line that --mode predict writes of a picture's detections."""

from collections.abc import Sequence
from typing import Any

from jaxmodels.ops.boxes import Detections


def prediction_line(names: Sequence[str], found: Detections) -> dict[str, Any]:
    """Makes the JSON line of one picture, the surest detection first; boxes are (x0, y0, x1, y1) in
    pixels of the picture."""
    there = found.labels >= 0
    boxes = [[round(float(edge), 2) for edge in box] for box in found.boxes[there]]
    scores = [float(score) for score in found.scores[there]]
    return {"boxes": boxes, "labels": [names[i] for i in found.labels[there]], "scores": scores}
