"""Checks of all pictures of a data set: which are good, and the facts of their pixels."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.checking import (
    Findings,
    Table,
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
    load_findings,
    require_class,
)
from jaxmodels.data.dataset import TRAIN, BadRecord, BadRow, Part, Record, Records
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.normalization import (
    Moments,
    Normalization,
    moments_of,
    normalization_from,
    normalization_of,
)
from jaxmodels.data.kept import kept
from jaxmodels.data.threads import read_each

_MOST_PIXELS = 0xFFFF  # on a side: the limit of JPEG, and of a table's uint16


class Format(NamedTuple):
    """The format that a data set declares for all pictures; None: it declares nothing."""

    size: tuple[int | None, int | None] = (None, None)  # height and width
    channels: int | None = None
    dtype: np.dtype | None = None


class Pixels(NamedTuple):
    """The facts of the pixels of good pictures; those of their values are of the training split.

    A model needs no others, so nothing is decoded to build one.
    """

    channels: int
    dtype: np.dtype
    size: tuple[int, int] | None  # height and width; None where they vary
    total: int  # pixels of all splits
    normalization: Normalization
    largest: float
    smallest: float
    black_and_white: bool  # whether all values are 0 or the largest

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded pixels of all splits."""
        return self.total * self.channels * self.dtype.itemsize

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as JSON values, for `pixels_from_json`."""
        return {**self._asdict(), "dtype": self.dtype.name}


def pixels_from_json(facts: Mapping[str, Any]) -> Pixels:
    """Inverts `Pixels.to_json`, after the facts were written to a file and read back."""
    size, statistics = facts["size"], facts["normalization"]
    changed = {
        "dtype": np.dtype(facts["dtype"]),
        "size": size and tuple(size),
        "normalization": Normalization(*map(tuple, statistics)),
    }
    return Pixels(**{**facts, **changed})


def pixels_of(splits: Mapping[str, Mapping[str, np.ndarray]]) -> Pixels:
    """Computes the facts of images in arrays, all of one shape and type."""
    train = splits[TRAIN]["image"]
    largest = float(train.max())
    return Pixels(
        channels=train.shape[3],
        dtype=train.dtype,
        size=train.shape[1:3],
        total=sum(int(np.prod(columns["image"].shape[:3])) for columns in splits.values()),
        normalization=normalization_of(train),
        largest=largest,
        smallest=float(train.min()),
        black_and_white=bool(((train == 0) | (train == largest)).all()),
    )


def examine(
    name: str,
    parts: Mapping[str, Part],
    declared: Format,
    classes: int,
    varying: bool,
    folder: Path,
) -> Findings:
    """Checks every picture, unless `folder` holds earlier findings, which are `kept`. Their facts
    are "pixels", those of `Pixels.to_json`, and "sizes", the number of pictures of each size before
    any was left out for its size.

    A record is bad if it cannot be read or decoded; if its size differs from the declared one or,
    unless `varying`, from that of most pictures; if it has other channels, a label out of range or
    values that are not finite; or if a training record is in another split too, or a validation
    record in a test split. Duplicates within a split are good.

    classes: how many there are; 0: the images have no labels.
    """

    def make(partial: Path) -> None:
        _examine(name, parts, declared, classes, varying, partial)

    return load_findings(kept(folder, make), parts)


def _examine(
    name: str,
    parts: Mapping[str, Part],
    declared: Format,
    classes: int,
    varying: bool,
    folder: Path,
) -> None:
    size, channels, dtype = declared
    if channels is None or dtype is None:
        found = _common_format(parts[TRAIN].records)
        channels = found[0] if channels is None else channels
        dtype = found[1] if dtype is None else dtype
    inspect = _inspection(size, channels, dtype, classes)
    tables, bad = inspect_parts(name, parts, inspect, _facts(channels, dtype))
    sizes = [[f"{height}x{width}", n] for (height, width), n in _sizes(tables).most_common()]
    if not varying:
        bad += _of_another_size(tables, parts)
    bad += duplicates(tables, parts, "pixels")
    pixels = _summary(tables, channels, dtype)
    known = ("label",) if classes else ()
    facts = {"pixels": pixels.to_json(), "sizes": sizes}
    keep_findings(folder, parts, tables, bad, facts, known)


def _facts(channels: int, dtype: np.dtype) -> list[tuple]:
    sums = np.float64 if np.issubdtype(dtype, np.floating) else np.int64
    return [
        ("label", np.int32),
        ("height", np.uint16),
        ("width", np.uint16),
        ("hash", np.uint64),
        ("largest", np.float64),
        ("smallest", np.float64),
        ("two_valued", bool),
        ("total", sums, (channels,)),
        ("square", sums, (channels,)),
    ]


def _inspection(
    size: tuple[int | None, int | None], channels: int, dtype: np.dtype, classes: int
) -> Callable[[Record], dict[str, Any]]:
    """Makes the check of one picture, which returns a line of `_facts`."""

    def inspect(record: Record) -> dict[str, Any]:
        image = decode_image(record["image"], channels, dtype)
        height, width = image.shape[:2]
        if any(side not in (None, found) for side, found in zip(size, (height, width))):
            wanted = "x".join("any" if side is None else str(side) for side in size)
            raise BadRecord(f"is {height}x{width} pixels; expected {wanted} as declared", "shape")
        if max(height, width) > _MOST_PIXELS:
            raise BadRecord(f"is {height}x{width} pixels; expected at most {_MOST_PIXELS}", "size")
        if np.issubdtype(dtype, np.floating) and not np.isfinite(image).all():
            raise BadRecord("has pixels that are not finite", "non-finite")
        if classes:
            require_class(record["label"], classes)
        _, total, square = moments_of(image)
        largest = image.max()
        return {
            "label": record["label"] if classes else -1,
            "height": height,
            "width": width,
            "hash": content_hash(f"{height}x{width}".encode(), image),
            "largest": largest,
            "smallest": image.min(),
            "two_valued": bool(((image == 0) | (image == largest)).all()),
            "total": total,
            "square": square,
        }

    return inspect


def _common_format(records: Records, probes: int = 100) -> tuple[int, np.dtype]:
    """Returns the commonest number of channels and type of pixels, judged by some of the images,
    for a data set that does not declare them."""
    rows = np.unique(np.linspace(0, len(records) - 1, probes).astype(int)).tolist()
    found = [(image.shape[2], image.dtype) for image in _decodable(read_each(records, rows))]
    return max(found, key=found.count, default=(3, np.dtype(np.uint8)))


def _decodable(records: Iterable[Record | BadRecord]) -> Iterator[np.ndarray]:
    for record in records:
        if not isinstance(record, BadRecord):
            try:
                yield decode_image(record["image"])
            except BadRecord:
                continue


def _sizes(tables: Mapping[str, Table]) -> Counter[tuple[int, int]]:
    """Counts the good images of each height and width, in the order of appearance."""
    sizes = Counter()
    for table in tables.values():
        good = table[table["good"]]
        sizes.update(zip(good["height"].tolist(), good["width"].tolist()))
    return sizes


def _of_another_size(tables: Mapping[str, Table], parts: Mapping[str, Part]) -> list[BadRow]:
    """Marks as bad the images of another height and width than most; returns them."""
    bad = []
    [(size, _)] = _sizes(tables).most_common(1) or [((0, 0), 0)]
    for split, table in tables.items():
        other = (table["height"] != size[0]) | (table["width"] != size[1])
        for line in np.flatnonzero(table["good"] & other):
            found = f"{table['height'][line]}x{table['width'][line]}"
            reason = f"is {found} pixels; expected {size[0]}x{size[1]} as most are"
            bad.append(parts[split].bad(int(parts[split].rows[line]), "size", reason))
            table["good"][line] = False
    return bad


def _summary(tables: Mapping[str, Table], channels: int, dtype: np.dtype) -> Pixels:
    """Computes the facts of all good pictures."""
    train = tables[TRAIN][tables[TRAIN]["good"]]
    counts = train["height"].astype(np.int64) * train["width"]
    moments = Moments(counts, train["total"], train["square"])
    unknown = (float("nan"),) * channels
    normalization = normalization_from(moments) if len(train) else Normalization(unknown, unknown)
    largest = float(train["largest"].max(initial=-np.inf))
    two_valued = train["two_valued"] & np.isin(train["largest"], (0, largest))
    sizes = _sizes(tables)
    return Pixels(
        channels=channels,
        dtype=dtype,
        size=next(iter(sizes)) if len(sizes) == 1 else None,
        total=sum(height * width * count for (height, width), count in sizes.items()),
        normalization=normalization,
        largest=largest,
        smallest=float(train["smallest"].min(initial=np.inf)),
        black_and_white=bool(two_valued.all()),
    )
