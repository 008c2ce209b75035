"""Checks of all documents: which are left out, and what is counted of the others."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmodels.data.checking import BAD_RECORDS, Table
from jaxmodels.data.dataset import TRAIN, VALIDATION, BadRow, Part, evaluation_splits
from jaxmodels.data.kept import save_array
from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.documents import Documents
from jaxmodels.data.text.gathering import Gathered, gather
from jaxmodels.data.text.overlap import PASSAGE, overlap_of
from jaxmodels.data.text.records import TextRecords
from jaxmodels.data.text.splitting import Split, divide

# WikiText's and Penn Treebank's word for rare words. A corpus that has it has a fixed vocabulary.
UNKNOWN = "<unk>"
_UNKNOWN = re.compile(rf"(?<!\S){UNKNOWN}(?!\S)")


@dataclass(frozen=True)
class Counts:
    """The sizes of a split. Words are what white space divides, and each end of a line is one, as
    WikiText-2 counts: 245,569 in its test split."""

    documents: int
    bytes: int  # of UTF-8
    characters: int
    words: int


class Examined(NamedTuple):
    """The good documents of each split, and what was found of all."""

    texts: Mapping[str, Texts]
    counts: Mapping[str, Counts]
    bad: tuple[BadRow, ...]
    divided: str  # how the training text was divided: "documents", "position" or ""
    cleaning: Mapping[str, Any]  # counts of what was found, for the record of a run
    defines_words: bool


def examine(
    name: str,
    splits: Mapping[str, TextRecords],
    documents: Documents,
    fractions: Mapping[str, float],
    drop_repeated: bool,
    folder: Path,
) -> None:
    """Reads all text, checks it and writes it into a folder, for `load_examined`.

    Documents that cannot be read or are no UTF-8 are bad. So is a training document of at least 200
    bytes that a validation or test split has too, and such a validation document of a test split.
    Documents without a visible character are left out. Documents that repeat an earlier one of
    their split and training documents with a passage of an evaluation split are counted; training
    documents of these kinds are left out with `drop_repeated`.

    Raises:
      InputError: a text that cannot be divided.
    """
    gathered, bad = gather(name, splits, documents, folder)
    gathered = {split: text for split, text in gathered.items() if len(text.hashes)}
    cleaning: dict[str, Any] = {"blank": {s: text.blank for s, text in gathered.items()}}
    found, divided = {}, ""
    if TRAIN in gathered:
        found, divided = divide(name, gathered, fractions)
        bad += _in_two_splits(found, splits)
    if TRAIN in found:
        cleaning |= _clean(found, gathered, drop_repeated)
    texts = {split: Texts(gathered[some.stored].path, some.ranges) for split, some in found.items()}
    counts, defines_words = {}, False
    for split, some in texts.items():
        counts[split], unknown = _count(some)
        defines_words |= split == TRAIN and unknown
        save_array(folder / f"{split}-ranges.npy", some.ranges)
    facts = {
        "stored": {split: some.stored for split, some in found.items()},
        "counts": {split: asdict(some) for split, some in counts.items()},
        "bad": sorted(bad, key=lambda row: (list(splits).index(row.split), row.row)),
        "divided": divided,
        "cleaning": cleaning,
        "defines_words": defines_words,
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    lines = "".join(f"{row}\n" for row in facts["bad"])
    (folder / BAD_RECORDS).write_text(lines, "utf-8", "surrogateescape")


def load_examined(folder: Path) -> Examined:
    """Reads what `examine` has written."""
    facts = json.loads((folder / "facts.json").read_text())
    texts = {
        split: Texts(folder / f"{stored}.txt", np.load(folder / f"{split}-ranges.npy"))
        for split, stored in facts["stored"].items()
    }
    return Examined(
        texts,
        {split: Counts(**counts) for split, counts in facts["counts"].items()},
        tuple(BadRow(*row) for row in facts["bad"]),
        facts["divided"],
        facts["cleaning"],
        facts["defines_words"],
    )


def _in_two_splits(found: dict[str, Split], splits: Mapping[str, TextRecords]) -> list[BadRow]:
    """Takes out training documents that an evaluation split has too, and validation documents that
    a test split has; returns them."""
    bad, known = [], {}
    order = [split for split in evaluation_splits(found) if split != VALIDATION]
    for split in [*order, *(split for split in (VALIDATION, TRAIN) if split in found)]:
        some = found[split]
        again = np.zeros(len(some.rows), bool)
        if split not in order and known:
            again = np.isin(some.hashes, np.fromiter(known, np.uint64, len(known))) & _long(some)
        part = Part(some.stored, splits[some.stored], np.zeros(0, np.int32))
        for place in np.flatnonzero(again).tolist():
            reason = f"has the same text as {known[int(some.hashes[place])]}"
            bad.append(part.bad(int(some.rows[place]), "duplicate", reason))
        found[split] = some.only(~again)
        if split != TRAIN:
            kept = found[split]
            named = zip(kept.hashes.tolist(), kept.rows.tolist())
            known |= {value: part.place(row) for value, row in named}
    for split in [split for split, some in found.items() if not len(some.ranges)]:
        del found[split]
    return bad


def _clean(
    found: dict[str, Split], gathered: Mapping[str, Gathered], drop_repeated: bool
) -> dict[str, Any]:
    """Counts repeated documents and passages of evaluation splits in the training split; takes out
    those of the training split if asked."""
    repeated = {split: _repeated(some.hashes) for split, some in found.items()}
    counts = {split: int(mask.sum()) for split, mask in repeated.items()}
    cleaning: dict[str, Any] = {"repeated": counts, "passages": {}}
    texts = {split: Texts(gathered[some.stored].path, some.ranges) for split, some in found.items()}
    left_out = repeated[TRAIN]
    for split in evaluation_splits(found):
        overlap = overlap_of(texts[TRAIN], texts[split])
        cleaning["passages"][split] = {
            "of": overlap.passages,
            "in_train": overlap.found,
            "train_documents": int(overlap.documents.sum()),
        }
        left_out = left_out | overlap.documents
    if drop_repeated and not left_out.all():
        cleaning["dropped"] = int(left_out.sum())
        found[TRAIN] = found[TRAIN].only(~left_out)
    return cleaning


def _long(split: Split) -> Bool[np.ndarray, " document"]:
    return np.diff(split.ranges)[:, 0] >= PASSAGE


def _repeated(hashes: Table) -> Bool[np.ndarray, " document"]:
    """Marks the documents that repeat an earlier one."""
    mask = np.ones(len(hashes), bool)
    mask[np.unique(hashes, return_index=True)[1]] = False
    return mask


def _count(texts: Texts) -> tuple[Counts, bool]:
    """Counts what a split holds; returns also whether it has the word `UNKNOWN`."""
    characters, words, unknown = 0, 0, False
    for _, text, last in texts.passages():
        characters += len(text)
        words += len(text.split()) + text.count("\n") + (last and not text.endswith("\n"))
        unknown = unknown or _UNKNOWN.search(text) is not None
    return Counts(len(texts), texts.size, characters, words), unknown
