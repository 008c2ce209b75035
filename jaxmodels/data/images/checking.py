"""What is found of pictures by a look at all of them: which are good, and how their pixels are."""

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

_MOST_PIXELS = 0xFFFF  # on a side, which JPEG has too


class Format(NamedTuple):
    """What is declared of all pictures of a data set; None where nothing is."""

    size: tuple[int | None, int | None] = (None, None)  # height and width
    channels: int | None = None
    dtype: np.dtype | None = None


class Pixels(NamedTuple):
    """What is known of the pixels of good pictures; what is about values is of the training split.

    It is all that a model has to know, so that nothing is decoded to build one.
    """

    channels: int
    dtype: np.dtype
    size: tuple[int, int] | None  # height and width; None where they vary
    total: int  # pixels of all splits
    normalization: Normalization
    largest: float
    smallest: float
    black_and_white: bool  # whether there are but 0 and the largest value

    @property
    def decoded_bytes(self) -> int:
        """Of the decoded pixels of all splits."""
        return self.total * self.channels * self.dtype.itemsize

    def to_json(self) -> dict[str, Any]:
        """What `pixels_from_json` makes the same of."""
        return {**self._asdict(), "dtype": self.dtype.name}


def pixels_from_json(facts: Mapping[str, Any]) -> Pixels:
    """The inverse of `Pixels.to_json`, read from a file."""
    size, statistics = facts["size"], facts["normalization"]
    changed = {
        "dtype": np.dtype(facts["dtype"]),
        "size": size and tuple(size),
        "normalization": Normalization(*map(tuple, statistics)),
    }
    return Pixels(**{**facts, **changed})


def pixels_of(splits: Mapping[str, Mapping[str, np.ndarray]]) -> Pixels:
    """The facts of images that lie in arrays, all of one shape and type."""
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
    """Looks at every picture, unless `folder` holds what was `kept` before; the facts of the
    findings are "pixels", as of `Pixels.to_json`, and "sizes", how many pictures had each size
    before any was left out for it.

    Bad are records that cannot be read or decoded, of another size than declared or (but where
    varying ones are welcome) than most, with another number of channels, with a label out of range
    or with values that are not finite, and those of a training split that another split has too (or
    of validation that the test split has). Duplicates within a split are good.

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
    """A look at one picture, which gives a line of `_facts`."""

    def inspect(record: Record) -> dict[str, Any]:
        image = decode_image(record["image"], channels, dtype)
        height, width = image.shape[:2]
        if any(said not in (None, found) for said, found in zip(size, (height, width))):
            said = tuple("any" if side is None else side for side in size)
            raise BadRecord(
                f"is {height}x{width} pixels; expected {said[0]}x{said[1]} as declared", "shape"
            )
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
    """The number of channels and the type of the pixels of most images, by some of them, for a
    data set that does not say."""
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
    """How many good images there are of each height and width, the first found first."""
    sizes = Counter()
    for table in tables.values():
        good = table[table["good"]]
        sizes.update(zip(good["height"].tolist(), good["width"].tolist()))
    return sizes


def _of_another_size(tables: Mapping[str, Table], parts: Mapping[str, Part]) -> list[BadRow]:
    """The images of another height and width than most, which are good no more."""
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
    """The facts of all good pictures."""
    train = tables[TRAIN][tables[TRAIN]["good"]]
    counts = train["height"].astype(np.int64) * train["width"]
    moments = Moments(counts, train["total"], train["square"])
    nothing = (float("nan"),) * channels
    normalization = normalization_from(moments) if len(train) else Normalization(nothing, nothing)
    largest = float(train["largest"].max(initial=-np.inf))
    of_two = train["two_valued"] & np.isin(train["largest"], (0, largest))
    sizes = _sizes(tables)
    return Pixels(
        channels=channels,
        dtype=dtype,
        size=next(iter(sizes)) if len(sizes) == 1 else None,
        total=sum(height * width * count for (height, width), count in sizes.items()),
        normalization=normalization,
        largest=largest,
        smallest=float(train["smallest"].min(initial=np.inf)),
        black_and_white=bool(of_two.all()),
    )
