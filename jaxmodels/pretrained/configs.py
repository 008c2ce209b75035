"""What the config.json of published weights says, read strictly, and written."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.pretrained.weights import Weights


def required_sizes(
    weights: Weights, names: Mapping[str, str], fixed: Mapping[str, tuple] = {}
) -> dict[str, Any]:
    """Reads sizes from the config.json beside weights.

    names: ours -> theirs. fixed: theirs -> the values that the network here has, of which the first
      counts where the field is absent.

    Raises:
      InputError: there is no config.json, a size is missing, or a fixed field has another value.
    """
    config = weights.config
    missing = [theirs for theirs in names.values() if config.get(theirs) is None]
    if missing:
        where = "config.json" if config else "no config.json beside them"
        raise InputError(
            f"{weights.path} has {where}{' without' if config else ', which tells'}"
            f" {', '.join(missing)}; expected the sizes of the model"
        )
    for name, values in fixed.items():
        if config.get(name, values[0]) not in values:
            raise InputError(
                f"{weights.path}: {name} = {config[name]}; expected"
                f" {' or '.join(map(str, values))}, which is all that the network has here"
            )
    return {ours: config[theirs] for ours, theirs in names.items()}


def labels(classes: Sequence[str]) -> dict[str, Any]:
    """Makes the fields of a config.json that name the classes of a classifier."""
    return {
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }
