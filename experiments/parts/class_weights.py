"""What the classes of a classifier's examples weigh in its loss, by `--class-weights`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmodels.data.absent import Absent
from jaxmodels.objectives.classifier import balanced_weights

CHOICES = ("none", "balanced")


def class_weights_of(
    chosen: str, data: Any, labels: Callable[[], Any], classes: int
) -> tuple[float, ...]:
    """Returns a weight for each of so many classes, or nothing by "none".

    labels: returns those of the training split. A run's own weights are taken where its examples
      are absent.
    """
    if chosen == "none":
        return ()
    if isinstance(data, Absent):
        return tuple(data.kept.values["class_weights"])
    return balanced_weights(np.asarray(labels()), classes)
