"""What published classifiers of images expect: how pixels are scaled, their size, the classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.pretrained.names import Published
from jaxmodels.pretrained.weights import Weights

_CLASSES = Path(__file__).with_name("imagenet_classes.txt")
# Of the pixels of ImageNet, in 0..1, with which torchvision and timm train.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Expected(NamedTuple):
    """The images that a published network was trained on.

    mean, std: by which pixels in 0..1 are shifted and scaled, for each channel.
    size: side of the squares that they are cut to.
    """

    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD
    size: int = 224


def expected_images(weights: Weights, usual: Expected) -> Expected:
    """Reads what networks expect from the preprocessor_config.json of transformers or the
    pretrained_cfg of timm beside the weights.

    usual: of the family; it counts where nothing is told.

    Raises:
      InputError: pixels are not scaled to 0..1.
    """
    told = weights.config.get("pretrained_cfg") or {}
    if told:
        mean, std, shape = (told.get(name) for name in ("mean", "std", "input_size"))
        return usual._replace(
            mean=tuple(mean or usual.mean),
            std=tuple(std or usual.std),
            size=shape[-1] if shape else usual.size,
        )
    processor = read_json(weights.files[0].with_name("preprocessor_config.json"))
    if not weights.files or not isinstance(processor, dict):
        return usual
    factor = processor.get("rescale_factor", 1 / 255)
    if not processor.get("do_rescale", True) or not processor.get("do_normalize", True):
        raise InputError(
            f"{weights.path}: its preprocessor_config.json does not scale pixels; expected"
            " do_rescale and do_normalize, with image_mean and image_std"
        )
    scale = 1 / (255 * factor)
    return Expected(
        mean=tuple(value * scale for value in processor.get("image_mean", usual.mean)),
        std=tuple(value * scale for value in processor.get("image_std", usual.std)),
        size=_side(processor) or usual.size,
    )


def _side(processor: Mapping[str, Any]) -> int:
    for name in ("crop_size", "size"):
        size = processor.get(name)
        if isinstance(size, dict):
            size = size.get("height") or size.get("shortest_edge")
        if isinstance(size, int):
            return size
    return 0


def class_names(weights: Weights, published: Published) -> tuple[str, ...]:
    """Names the classes of a published classifier: as its config.json does; those of ImageNet,
    where it has 1,000; else by numbers."""
    for field in ("id2label", "label_names"):
        names = weights.config.get(field)
        if names:
            return tuple(_in_order(names))
    biases = [e.name for e in published.entries if e.paths == ("params/head/bias",)]
    sizes = [weights[name].shape[0] for name in biases if name in weights]
    count = sizes[0] if sizes else 0
    if count == 1000:
        return tuple(_CLASSES.read_text("utf-8").splitlines())
    return tuple(map(str, range(count)))


def _in_order(names: Mapping[str, str] | Sequence[str]) -> Sequence[str]:
    if isinstance(names, Mapping):
        return [names[key] for key in sorted(names, key=int)]
    return names
