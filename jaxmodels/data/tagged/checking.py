"""Checks of all tagged sentences: which are left out, and what is counted of the others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.checking import (
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
)
from jaxmodels.data.dataset import TRAIN, BadRecord, Part, Record
from jaxmodels.data.sentences.checking import contradictions, repeated
from jaxmodels.data.tagged.reading import OUTSIDE
from jaxmodels.data.text.documents import why_undecodable

MENDS = {
    "undecodable": "iconv -f latin1 -t utf-8 FILE converts a file of another encoding",
    "overlong": "--longest N allows more words",
    "tag": "--tag-names O B-KIND I-KIND ... names the tags",
    "duplicate": "A sentence that is trained on scores too well",
    "contradiction": "One sentence cannot be tagged in two ways",
}
# "label": whether there is an entity, for equal shares of them in splits.
_FACTS = [("hash", np.uint64), ("label", np.int32), ("tags", np.uint64)]


def examine(
    name: str, parts: Mapping[str, Part], names: Sequence[str], longest: int, folder: Path
) -> None:
    """Reads all sentences, checks them and writes what was found into a folder.

    Bad are sentences that cannot be read, whose words and tags differ in number, without a word,
    with a word that is no UTF-8 or has no visible character, with a tag that has no name, or with
    more than `longest` words; training sentences that an evaluation split has too; and training
    sentences that stand there before with other tags. Sentences that repeat an earlier one of their
    split are counted and listed.
    """
    outside = names.index(OUTSIDE)

    def inspect(record: Record) -> Mapping[str, Any]:
        words, tags = required(record, names, longest)
        return {
            "hash": content_hash(b"\0".join(words)),
            "label": int(any(tag != outside for tag in tags)),
            "tags": content_hash(np.array(tags, np.int32)),
        }

    tables, bad = inspect_parts(name, parts, inspect, _FACTS)
    bad += duplicates(tables, parts, "words")
    bad += contradictions(parts[TRAIN], tables[TRAIN], "tags")
    cleaning = {"repeated": repeated(tables, parts)}
    keep_findings(folder, parts, tables, bad, cleaning, ("hash", "label"))


def required(
    record: Record, names: Sequence[str], longest: int
) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Returns the words and tags of a good record.

    Raises:
      BadRecord: it is none.
    """
    if record.get("broken") is not None:
        raise record["broken"]
    words, tags = tuple(record["words"]), tuple(int(tag) for tag in record["tags"])
    if len(words) != len(tags):
        raise BadRecord(f"has {len(words)} words and {len(tags)} tags; expected as many", "lengths")
    require_words(words, longest)
    strange = [tag for tag in tags if not 0 <= tag < len(names)]
    if strange:
        raise BadRecord(f"has tag {strange[0]}; expected 0 to {len(names) - 1}", "tag")
    return words, tags


def require_words(words: Sequence[bytes], longest: int | None = None) -> None:
    """Requires words of UTF-8 with a visible character, and at most `longest` of them.

    Raises:
      BadRecord: other words, or none.
    """
    if not words:
        raise BadRecord("has no word", "empty")
    for place, word in enumerate(words):
        try:
            decoded = word.decode()
        except UnicodeDecodeError as error:
            raise BadRecord(f"{why_undecodable(error)} (word {place})", "undecodable") from None
        if not decoded.strip():
            raise BadRecord(f"has no visible character in word {place}", "empty")
    if longest is not None and len(words) > longest:
        raise BadRecord(f"has {len(words):,} words; expected at most {longest:,}", "overlong")
