"""What every classifier says of an example: its most likely class, with all probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special


def prediction_line(names: Sequence[str], outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Makes the label and the probabilities of one line of predictions."""
    probabilities = probabilities_of(outputs["logits"])
    by_name = {name: float(share) for name, share in zip(names, probabilities)}
    return {"label": names[int(probabilities.argmax())], "probabilities": by_name}


@np.errstate(under="ignore")
def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Computes probabilities of classes in 64 bits, along the last axis."""
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)
