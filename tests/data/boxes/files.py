"""Writes one small set of pictures with boxes in each format."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("cat", "dog")
CANVAS = (32, 48)


def pictures(count=2, seed=0):
    """Pictures of several sizes with boxes in whole pixels: [(pixels, boxes, labels), ...]."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        height, width = 20 + 4 * number, 40 - 8 * (number % 3)
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        boxes = [[2, 3, 12, 9 + number], [width - 8, 4, width, height]][: number % 2 + 1]
        made.append((pixels, boxes, [(number + at) % 2 for at in range(len(boxes))]))
    return made


def splits(train=2, test=1):
    return {"train": pictures(train, 1), "test": pictures(test, 2)}


def png(path: Path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def coco(pictures, names=NAMES, crowd=()):
    """The parsed COCO file of pictures 0.png, 1.png, ..."""
    images, annotations = [], []
    for number, (pixels, boxes, labels) in enumerate(pictures):
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        images.append({"id": number + 7, "file_name": f"{number}.png", **size})
        for (x0, y0, x1, y1), label in zip(boxes, labels):
            at = len(annotations)
            annotations.append(
                {
                    "id": at,
                    "image_id": number + 7,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "category_id": 10 * (label + 1),
                    "iscrowd": int(at in crowd),
                }
            )
    categories = [{"id": 10 * (at + 1), "name": name} for at, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, splits):
    """annotations/instances_train2017.json beside train2017/."""
    (root / "annotations").mkdir(parents=True)
    for split, some in splits.items():
        for number, (pixels, _, _) in enumerate(some):
            png(root / f"{split}2017" / f"{number}.png", pixels)
        path = root / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(coco(some)))
    return root


def voc(pixels, boxes, labels, name="0.png"):
    """The text of one XML file."""
    objects = "".join(
        f"<object><name>{NAMES[label]}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin>"
        f"<ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for (x0, y0, x1, y1), label in zip(boxes, labels)
    )
    height, width = pixels.shape[:2]
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def write_voc(root: Path, splits):
    """Annotations, JPEGImages (PNG here) and ImageSets/Main."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, some in splits.items():
        stems = [f"{split}_{number}" for number in range(len(some))]
        for stem, (pixels, boxes, labels) in zip(stems, some):
            png(root / "JPEGImages" / f"{stem}.png", pixels)
            text = voc(pixels, boxes, labels, f"{stem}.png")
            (root / "Annotations" / f"{stem}.xml").write_text(text)
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(stems))
    return root


def yolo(pixels, boxes, labels):
    """The text of one file of boxes."""
    height, width = pixels.shape[:2]
    return "".join(
        f"{label} {(x0 + x1) / 2 / width!r} {(y0 + y1) / 2 / height!r}"
        f" {(x1 - x0) / width!r} {(y1 - y0) / height!r}\n"
        for (x0, y0, x1, y1), label in zip(boxes, labels)
    )


def write_yolo(root: Path, splits):
    """train/images, train/labels and data.yaml, as Roboflow writes them."""
    for split, some in splits.items():
        for number, (pixels, boxes, labels) in enumerate(some):
            png(root / split / "images" / f"{number}.png", pixels)
            path = root / split / "labels" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yolo(pixels, boxes, labels))
    names = json.dumps(list(NAMES))
    folders = "".join(f"{split}: ../{split}/images\n" for split in splits)
    (root / "data.yaml").write_text(f"{folders}nc: 2\nnames: {names}\n")
    return root
