"""COCO's average precision of detections (Lin et al. 2014; cocodataset.org/#detection-eval).

It is computed on the host in float64: a match depends on whether an overlap reaches a threshold to
the last bit, and precision on the order of all detections of a split, so that 32 bits of a device
could not equal pycocotools. All numbers equal those of pycocotools, ties included.

As there, at most `MOST` detections of a class count in a picture, the surest; crowds may be matched
by any number of detections, none of which counts; and an object's area is that of its box.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmodels.metrics.detection_matching import MOST, Found, Objects, Pairs, matched, sides_of

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # overlaps (IoU)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}  # square pixels of the picture, both ends included
_ABSENT = -1.0  # of a class without objects, as pycocotools has it


class AveragePrecision(NamedTuple):
    """Precision at each recall of `RECALLS`, by thresholds, classes and areas, and the greatest
    recall; -1 for classes without objects."""

    precision: Float[np.ndarray, "threshold recall class area"]
    recall: Float[np.ndarray, "threshold class area"]
    thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
    areas: tuple[str, ...] = tuple(AREAS)

    def mean(self, threshold: float | None = None, area: str = "all") -> float:
        """Computes the mean over thresholds (None: all), recalls and classes with objects; NaN
        where no class has any."""
        return _mean(self._chosen(threshold, area))

    def per_class(self, threshold: float | None = None, area: str = "all") -> list[float]:
        """Computes the same for each class; NaN for one without objects."""
        chosen = self._chosen(threshold, area)
        return [_mean(chosen[:, :, label]) for label in range(chosen.shape[2])]

    def average_recall(self, area: str = "all") -> float:
        """Computes the mean over thresholds and classes of the recall by up to `MOST`
        detections."""
        return _mean(self.recall[:, :, self.areas.index(area)])

    def curve(self, label: int, threshold: float = 0.5) -> Float[np.ndarray, " recall"]:
        """Returns the precision of a class at each recall of `RECALLS`."""
        return self._chosen(threshold, "all")[0, :, label]

    def _chosen(self, threshold: float | None, area: str) -> np.ndarray:
        chosen = self.precision[..., self.areas.index(area)]
        if threshold is None:
            return chosen
        return chosen[[int(np.abs(self.thresholds - threshold).argmin())]]


def _mean(values: np.ndarray) -> float:
    present = values[values > _ABSENT]
    return float(np.mean(present)) if present.size else float("nan")


def average_precision(
    found: Found,
    truth: Sequence[Objects],
    classes: int,
    thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS,
    areas: tuple[str, ...] = tuple(AREAS),
) -> AveragePrecision:
    """Computes average precision as pycocotools does (see `by_pycocotools`), at these thresholds
    and for objects of these `AREAS`."""
    pairs = Pairs(found, truth, classes)
    matches = matched(pairs, thresholds, np.array([AREAS[area] for area in areas]))
    shape = len(thresholds), len(RECALLS), classes, len(areas)
    precision = np.full(shape, _ABSENT)
    recall = np.full((shape[0], classes, shape[3]), _ABSENT)
    for label in range(classes):
        mine = pairs.detection_labels == label
        order = np.argsort(-pairs.scores[mine], kind="stable")
        hit, ignored = (
            np.moveaxis(flags[mine][order], 0, -1) for flags in (matches.hit, matches.ignored)
        )
        counts = (~matches.object_ignored[pairs.object_labels == label]).sum(0)
        for area, count in enumerate(counts.tolist()):
            if count:
                curves = _curves(hit[area], ignored[area], count)
                precision[:, :, label, area], recall[:, label, area] = curves
    return AveragePrecision(precision, recall, thresholds, areas)


def _curves(
    hit: Bool[np.ndarray, "threshold detection"],
    ignored: Bool[np.ndarray, "threshold detection"],
    objects: int,
) -> tuple[Float[np.ndarray, "threshold recall"], Float[np.ndarray, " threshold"]]:
    """Computes the precision at each recall, and the greatest recall, of detections in order."""
    right = np.cumsum(hit & ~ignored, axis=1).astype(float)
    wrong = np.cumsum(~hit & ~ignored, axis=1).astype(float)
    reached = right / objects
    precision = right / (wrong + right + np.spacing(1))
    # The precision at a recall is the best one at this recall or above.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    at_recalls = np.zeros((len(hit), len(RECALLS)))
    for row, (recalls, values) in enumerate(zip(reached, precision, strict=True)):
        places = np.searchsorted(recalls, RECALLS, side="left")
        there = places < len(values)
        at_recalls[row, there] = values[places[there]]
    return at_recalls, reached[:, -1] if hit.shape[1] else np.zeros(len(hit))


def by_pycocotools(found: Found, truth: Sequence[Objects], classes: int) -> AveragePrecision:
    """Computes average precision by pycocotools itself."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # The stubs of pycocotools know files alone.
    coco: Any = COCO()
    found_there = _coco_results(found, classes)
    coco.dataset = _coco_truth(truth, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        detected = coco.loadRes(found_there) if found_there else COCO()
        scored = COCOeval(coco, detected, "bbox")
        scored.params.maxDets = [1, 10, MOST]
        scored.evaluate()
        scored.accumulate()
    return AveragePrecision(scored.eval["precision"][..., 2], scored.eval["recall"][..., 2])


def _coco_truth(truth: Sequence[Objects], classes: int) -> dict[str, Any]:
    annotations = []
    for picture, objects in enumerate(truth):
        for sides, label, crowd in zip(
            sides_of(np.asarray(objects.boxes, np.float64)).tolist(), objects.labels, objects.crowd
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes 0 for no object
                    "image_id": picture,
                    "category_id": int(label),
                    "bbox": sides,
                    "area": sides[2] * sides[3],
                    "iscrowd": int(crowd),
                }
            )
    return {
        "info": {},
        "images": [{"id": picture} for picture in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": label} for label in range(classes)],
    }


def _coco_results(found: Found, classes: int) -> list[dict[str, Any]]:
    labels: Any = np.asarray(found.labels)
    pictures, places = np.nonzero((labels >= 0) & (labels < classes))
    sides = sides_of(np.asarray(found.boxes, np.float64)[pictures, places])
    scores = np.asarray(found.scores, np.float64)[pictures, places]
    columns = zip(
        pictures.tolist(), labels[pictures, places].tolist(), sides.tolist(), scores.tolist()
    )
    return [
        {"image_id": picture, "category_id": label, "bbox": box, "score": score}
        for picture, label, box, score in columns
    ]
