"""Checks of all pictures with boxes of a data set, made once; their findings are kept."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.boxes.annotations import Annotations, load_annotations
from jaxmodels.data.boxes.cleaning import clean, told_flaws
from jaxmodels.data.boxes.records import pixels_of
from jaxmodels.data.checking import (
    Findings,
    Table,
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
    load_findings,
)
from jaxmodels.data.dataset import TRAIN, BadRecord, BadRow, Part, Record
from jaxmodels.data.images.normalization import Moments, moments_of, normalization_from
from jaxmodels.data.kept import kept

_BOXES = "boxes that are bad are left out alone, their picture stays"
MENDS = {
    "channels": "ImageMagick gives files a ground and three colours: mogrify -background white"
    " -alpha remove -alpha off -colorspace sRGB -type TrueColor FILE",
    "size": "Pictures whose sides are exchanged are turned by an orientation in EXIF, of which"
    " their boxes do not know; exiftool -Orientation= FILE takes it away",
    "type": "ImageMagick gives files 8 bits: mogrify -depth 8 FILE",
    "label": "classes are those that the file of names lists or, without one, those of the"
    f" training split; {_BOXES}",
}
MENDS |= dict.fromkeys(
    ("nonfinite", "reversed", "empty", "outside", "degenerate", "repeated", "annotation"),
    _BOXES[0].upper() + _BOXES[1:],
)

WITHOUT_OBJECTS = "without-objects.txt"  # beside the findings: these pictures, one a line
_NOTED = 3  # of them


class Examined(NamedTuple):
    """What the checks found. The objects of a split are those that are good, in the order of its
    good pictures."""

    findings: Findings
    annotations: Mapping[str, Annotations]


def examine(name: str, parts: Mapping[str, Part], classes: int, folder: Path) -> Examined:
    """Checks every picture and its boxes, unless `folder` holds earlier findings, which are `kept`.

    A picture is bad if it cannot be read or decoded, or as `duplicates` says. Of one with flawed
    objects (see `clean`), these alone are left out; it is listed as bad and stays. Facts are
    "cleaning", counts of boxes cut at the edges, of pictures without objects and of each kind of
    flaw; "objects", the number of each class by split; and "normalization", of training pixels.
    Pictures without objects are noted on standard error and listed beside the findings.
    """

    def make(partial: Path) -> None:
        without = _examine(name, parts, classes, partial)
        if without:
            more = f" and {len(without) - _NOTED:,} more" if len(without) > _NOTED else ""
            print(
                f"note: data '{name}' has pictures without objects ({len(without):,}):"
                f" {', '.join(without[:_NOTED])}{more}. The whole list: {folder / WITHOUT_OBJECTS}",
                file=sys.stderr,
            )

    findings = load_findings(kept(folder, make), parts)
    annotations = {split: load_annotations(folder, split) for split in findings.splits}
    return Examined(findings, annotations)


_FACTS = [
    ("height", np.int32),
    ("width", np.int32),
    ("hash", np.uint64),
    ("cleaned", object),
    ("moments", np.int64, (2, 3)),
]


def _examine(name: str, parts: Mapping[str, Part], classes: int, folder: Path) -> list[str]:
    """Writes the findings; returns the names of good pictures without a good object."""
    tables, bad = inspect_parts(name, parts, _inspection(classes), _FACTS)
    flawed = [row for split, table in tables.items() for row in _flawed(parts[split], table)]
    bad = [*bad, *flawed, *duplicates(tables, parts, "pixels")]
    facts = {
        "cleaning": _cleaning(tables),
        "objects": {split: _objects(table, classes) for split, table in tables.items()},
        "normalization": _normalization(tables[TRAIN]),
    }
    keep_findings(folder, parts, tables, _once_each(bad), facts, ("height", "width"))
    without = _without_objects(parts, tables)
    lines = "".join(f"{place}\n" for place in without)
    (folder / WITHOUT_OBJECTS).write_text(lines, "utf-8", "surrogateescape")
    for split, table in tables.items():
        good = table[table["good"]]
        sizes = np.stack([good["height"], good["width"]], axis=1)
        found = Annotations([cleaned.annotation for cleaned in good["cleaned"]], sizes)
        found.save(folder, split)
    return without


def _without_objects(parts: Mapping[str, Part], tables: Mapping[str, Table]) -> list[str]:
    """Names the good pictures without a good object."""
    return [
        parts[split].place(int(row))
        for split, table in tables.items()
        for row, line in zip(parts[split].rows, table, strict=True)
        if line["good"] and not len(line["cleaned"].annotation.labels)
    ]


def _inspection(classes: int) -> Callable[[Record], dict[str, Any]]:
    """Makes the check of one picture, which returns a line of `_FACTS`."""

    def inspect(record: Record) -> dict[str, Any]:
        image = pixels_of(record["image"])
        height, width = image.shape[:2]
        if record.get("declared") not in (None, (height, width)):
            tall, wide = record["declared"]
            raise BadRecord(
                f"is {width}x{height} pixels; its boxes are of {wide}x{tall} pixels", "size"
            )
        _, total, square = moments_of(image)
        return {
            "height": height,
            "width": width,
            "hash": content_hash(f"{height}x{width}".encode(), image),
            "cleaned": _Held(clean(record, height, width, classes)),
            "moments": np.stack([total, square]),
        }

    return inspect


class _Held:
    """Holds a tuple, which numpy would otherwise take for an array of values."""

    def __init__(self, held: Any):
        self.annotation, self.flaws, self.clipped = held


def _flawed(part: Part, table: Table) -> list[BadRow]:
    """Lists the pictures of a split that have flawed objects."""
    return [
        part.bad(int(row), line["cleaned"].flaws[0].kind, told_flaws(line["cleaned"].flaws))
        for row, line in zip(part.rows, table, strict=True)
        if line["good"] and line["cleaned"].flaws
    ]


def _once_each(bad: list[BadRow]) -> list[BadRow]:
    """Joins what is wrong with one record."""
    joined: dict[tuple[str, int], BadRow] = {}
    for row in bad:
        place = row.split, row.row
        if place in joined:
            row = row._replace(reason=f"{joined[place].reason}; {row.reason}")
        joined[place] = row
    return list(joined.values())


def _cleaning(tables: Mapping[str, Table]) -> dict[str, int]:
    """Counts what was found of the good pictures, by kind, most first."""
    counts = Counter()
    for table in tables.values():
        for line in table[table["good"]]:
            found = line["cleaned"]
            counts["cut at the edge"] += found.clipped
            counts["pictures without objects"] += not len(found.annotation.labels)
            counts.update(flaw.kind for flaw in found.flaws)
    return {kind: count for kind, count in counts.most_common() if count}


def _objects(table: Table, classes: int) -> list[int]:
    """Counts the good objects of each class."""
    counts = np.zeros(classes, np.int64)
    for line in table[table["good"]]:
        labels = line["cleaned"].annotation.labels
        counts += np.bincount(labels, minlength=classes)
    return counts.tolist()


def _normalization(table: Table) -> list:
    """Computes mean and standard deviation of the training pixels of each channel, as stored."""
    good = table[table["good"]]
    if not len(good):
        return []
    counts = good["height"].astype(np.int64) * good["width"]
    moments = Moments(counts, good["moments"][:, 0], good["moments"][:, 1])
    return list(normalization_from(moments))
