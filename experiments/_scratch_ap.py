"""AP by pycocotools, until the report is there."""

import contextlib
import io

import numpy as np

from jaxmodels.protocol import Score
from jaxmodels.train import Findings

AP_SCORES = {
    "ap": Score("higher", "", "COCO's AP"),
    "ap50": Score("higher", "", "AP at IoU 0.5"),
    "ap75": Score("higher", "", "AP at IoU 0.75"),
}


def report(data, predict, evaluation):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = evaluation.map(predict)
    images, annotations, results = [], [], []
    for row, truth in enumerate(data.truth(evaluation.split)):
        images.append({"id": row})
        for (x0, y0, x1, y1), label, crowd in zip(*truth):
            w, h = x1 - x0, y1 - y0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": row,
                    "category_id": int(label),
                    "bbox": [x0, y0, w, h],
                    "area": w * h,
                    "iscrowd": int(crowd),
                }
            )
        for box, score, label in zip(found.boxes[row], found.scores[row], found.labels[row]):
            if label >= 0:
                x0, y0, x1, y1 = map(float, box)
                results.append(
                    {
                        "image_id": row,
                        "category_id": int(label),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": float(score),
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i, "name": n} for i, n in enumerate(data.class_names)],
        }
        coco.createIndex()
        if not results:
            return Findings(scores={"ap": 0.0, "ap50": 0.0, "ap75": 0.0})
        scored = COCOeval(coco, coco.loadRes(results), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    p = scored.eval["precision"][:, :, :, 0, 2]
    per = {
        n: (float(p[:, :, i].mean()), float(p[0, :, i].mean()))
        for i, n in enumerate(data.class_names)
    }
    print(evaluation.split, per)
    ap, ap50, ap75 = map(float, scored.stats[:3])
    return Findings(
        scores={"ap": ap, "ap50": ap50, "ap75": ap75},
        record={
            "ap": ap,
            "ap50": ap50,
            "ap75": ap75,
            "per_class": {n: v[0] for n, v in per.items()},
        },
    )
