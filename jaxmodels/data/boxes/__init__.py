"""Pictures with boxes as data: by name, from files or from arrays; checked and letterboxed."""

from jaxmodels.data.boxes.annotations import Annotation, Annotations, annotation
from jaxmodels.data.boxes.arrays import boxes_from_arrays
from jaxmodels.data.boxes.box_data import BoxData, relabelled
from jaxmodels.data.boxes.decoder import BoxDecoder, box_spec, letterboxed
from jaxmodels.data.boxes.elsewhere import boxes_elsewhere
from jaxmodels.data.boxes.letterbox import letterbox, scale_of
from jaxmodels.data.boxes.loading import BoxConfig, load_boxes

__all__ = [
    "Annotation",
    "Annotations",
    "BoxConfig",
    "BoxData",
    "BoxDecoder",
    "annotation",
    "box_spec",
    "boxes_elsewhere",
    "boxes_from_arrays",
    "letterbox",
    "letterboxed",
    "load_boxes",
    "relabelled",
    "scale_of",
]
