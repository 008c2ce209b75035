"""A classifier of images as a model of Keras, from images as they are stored to logits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError
from jaxmodels.models import cnn_names, resnet_keras
from jaxmodels.models.classifiers import ClassifierModels
from jaxmodels.models.options import chosen_options
from jaxmodels.objectives.descent import learned_of
from jaxmodels.pretrained.keras_files import save_keras
from jaxmodels.protocol import State

_GRAPHS = {"cnn": cnn_names.keras_graph, "resnet": resnet_keras.keras_graph}


def export_keras(
    models: ClassifierModels,
    classes: int,
    normalization: Normalization,
    sides: Sequence[int],
    pad: int,
    state: State,
    output: Path,
) -> None:
    """Writes NAME.keras or NAME.weights.h5, of the averaged weights where there are some.

    sides: height, width and channels of images as they are stored.

    Raises:
      InputError: a model without a graph here, or grey images that are seen as coloured ones.
    """
    if models.model not in _GRAPHS:
        raise InputError(
            f"model = {models.model}; there is no graph of Keras of it: export it as --format"
            f" stablehlo, or train --model {' or '.join(_GRAPHS)}"
        )
    if len(normalization.mean) != sides[-1]:
        raise InputError(
            f"pixel_mean has {len(normalization.mean)} channels and images {sides[-1]}; a model of"
            " Keras repeats no grey ones: export it as --format stablehlo"
        )
    scale = np.divide(1.0, normalization.std)
    scaling = scale.tolist(), (-np.multiply(normalization.mean, scale)).tolist()
    graph = _GRAPHS[models.model](chosen_options(models), classes, sides, pad, scaling)
    arrays = flatten_dict(learned_of(state, "batch_stats"), sep="/")
    save_keras(output, graph, arrays)
