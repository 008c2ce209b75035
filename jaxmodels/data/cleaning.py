"""Which records of a data set are good: all are looked at once, and the findings are kept."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmodels.data.normalization import Moments, Normalization, normalization_from
from jaxmodels.data.records import BadRow, CleanImages, Part
from jaxmodels.data.scanning import common_format, scan
from jaxmodels.errors import InputError
from jaxmodels.files import whole_folder

_LISTED = 10
# By which of two splits with the same picture keeps it: the one that says how good a model is.
_KEPT_FIRST = ("test", "validation", "train")


class Findings(NamedTuple):
    """What is known of a data set after a look at all of it. Statistics are of good records."""

    splits: Mapping[str, CleanImages]
    bad: tuple[BadRow, ...]
    normalization: Normalization | None
    """Of the training split; None: nothing is left of it."""
    largest: float
    """Value of a pixel of the training split."""
    pixel_bytes: int
    """Of the decoded pixels of all splits."""


def examine(
    name: str, parts: Mapping[str, Part], classes: int, varying: bool, folder: Path
) -> Findings:
    """Looks at every record, unless `folder` holds what was found before.

    Bad are records that cannot be read or decoded, of another size than declared or (but where
    varying ones are welcome) than most, with another number of channels, with a label out of range
    or with values that are not finite, and those of a training split that another split has too (or
    of validation that the test split has). Duplicates within a split are good.

    classes: how many there are; 0: the images have no labels.
    """
    if not folder.exists():
        with whole_folder(folder) as partial:
            _examine(name, parts, classes, varying, partial)
    return _load(parts, classes, folder)


def check_policy(name: str, bad: tuple[BadRow, ...], skip_bad_records: int) -> None:
    """Tells on standard error what is left out, if anything.

    Raises:
      InputError: more records are bad than `skip_bad_records`.
    """
    if not bad:
        return
    listed = "; ".join(map(str, bad[:_LISTED]))
    more = f"; and {len(bad) - _LISTED:,} more" if len(bad) > _LISTED else ""
    records = f"{len(bad):,} bad record{'s' if len(bad) > 1 else ''}"
    if len(bad) > skip_bad_records:
        kinds = Counter(row.kind for row in bad)
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        raise InputError(
            f"data '{name}' has {records} ({counts}); expected at most {skip_bad_records}:"
            f" {listed}{more}. Mend the data, or leave them out: --skip-bad-records {len(bad)}"
        )
    print(f"note: skipped {records}: {listed}{more}", file=sys.stderr)


def _examine(
    name: str, parts: Mapping[str, Part], classes: int, varying: bool, folder: Path
) -> None:
    encoded = parts["train"].encoded
    channels, dtype = encoded.channels, encoded.dtype
    if channels is None or dtype is None:
        found = common_format(encoded)
        channels, dtype = channels or found[0], np.dtype(dtype or found[1])
    tables, bad = {}, []
    for split, part in parts.items():
        print(f"checking {len(part.rows):,} images of {name}/{split}, once", file=sys.stderr)
        tables[split], found = scan(part, channels, dtype, classes)
        bad += found
    sizes = _sizes(tables)
    if not varying:
        bad += _of_another_size(tables, parts, max(sizes, key=sizes.get, default=None))
    bad += _duplicates(tables, parts)
    stored = list(dict.fromkeys(part.stored for part in parts.values()))
    bad.sort(key=lambda row: (stored.index(row.split), row.row))

    train = tables["train"][tables["train"]["good"]]
    normalization = None
    if len(train):
        pixels = train["height"].astype(np.int64) * train["width"]
        normalization = normalization_from(Moments(pixels, train["total"], train["square"]))
    sizes = _sizes(tables)
    pixels = sum(height * width * count for (height, width), count in sizes.items())
    facts = {
        "bad": bad,
        "channels": channels,
        "dtype": dtype.name,
        "size": next(iter(sizes)) if len(sizes) == 1 else None,
        "normalization": normalization,
        "largest": float(train["largest"].max(initial=-np.inf)),
        "pixel_bytes": pixels * channels * dtype.itemsize,
    }
    for split, table in tables.items():
        good = table["good"]
        np.save(folder / f"{split}-rows.npy", parts[split].rows[good])
        np.save(folder / f"{split}-labels.npy", table["label"][good])
    (folder / "facts.json").write_text(json.dumps(facts))


def _load(parts: Mapping[str, Part], classes: int, folder: Path) -> Findings:
    facts = json.loads((folder / "facts.json").read_text())
    size, channels = facts["size"], facts["channels"]
    splits = {
        split: CleanImages(
            source=part.encoded,
            rows=np.load(folder / f"{split}-rows.npy"),
            labels=np.load(folder / f"{split}-labels.npy") if classes else None,
            shape=(*size, channels) if size else None,
            channels=channels,
            dtype=np.dtype(facts["dtype"]),
        )
        for split, part in parts.items()
    }
    statistics = facts["normalization"]
    return Findings(
        splits={split: images for split, images in splits.items() if len(images)},
        bad=tuple(BadRow(*row) for row in facts["bad"]),
        normalization=statistics and Normalization(*map(tuple, statistics)),
        largest=facts["largest"],
        pixel_bytes=facts["pixel_bytes"],
    )


def _sizes(tables: Mapping[str, np.ndarray]) -> Counter[tuple[int, int]]:
    """How many good images there are of each height and width, the first found first."""
    sizes = Counter()
    for table in tables.values():
        good = table[table["good"]]
        sizes.update(zip(good["height"].tolist(), good["width"].tolist()))
    return sizes


def _of_another_size(tables, parts: Mapping[str, Part], size: tuple[int, int]) -> list[BadRow]:
    """The images of another height and width, which are good no more."""
    bad = []
    for split, table in tables.items():
        other = (table["height"] != size[0]) | (table["width"] != size[1])
        for line in np.flatnonzero(table["good"] & other) if size else ():
            found = f"{table['height'][line]}x{table['width'][line]}"
            reason = f"is {found} pixels; expected {size[0]}x{size[1]} as most are"
            bad.append(parts[split].bad(int(parts[split].rows[line]), "size", reason))
            table["good"][line] = False
    return bad


def _duplicates(tables, parts: Mapping[str, Part]) -> list[BadRow]:
    """The images of training that are in another split too, and those of validation in test; they
    are good no more."""
    bad, hashes, places = [], np.zeros(0, np.uint64), []
    for split in (split for split in _KEPT_FIRST if split in parts):
        part, table = parts[split], tables[split]
        lines = np.flatnonzero(table["good"])
        digests = table["hash"][lines]
        again = np.isin(digests, hashes)
        order = np.argsort(hashes, kind="stable")
        firsts = order[np.searchsorted(hashes, digests[again], sorter=order)]
        for line, first in zip(lines[again].tolist(), firsts.tolist()):
            where, row = places[first]
            reason = f"has the same pixels as {where.place(row)}"
            bad.append(part.bad(int(part.rows[line]), "duplicate", reason))
        table["good"][lines[again]] = False
        if split != "train":
            hashes = np.concatenate([hashes, digests[~again]])
            places += [(part, row) for row in part.rows[lines[~again]].tolist()]
    return bad
