"""Checks of all documents and summaries: which are left out, and what is counted of the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.checking import content_hash, duplicates, inspect_parts, keep_findings
from jaxmodels.data.dataset import BadRecord, Part, Record
from jaxmodels.data.documents.reading import texts_in
from jaxmodels.data.sentences.checking import repeated, require_good

MENDS = {
    "undecodable": "iconv -f latin1 -t utf-8 FILE converts a file of another encoding",
    "overlong": "--longest N allows more characters",
    "duplicate": "A document that is trained on scores too well",
    "broken": 'A line is {"document": TEXT, "summary": TEXT}, or has "summaries": [TEXT, ...]',
}
_FACTS = [("hash", np.uint64)]


def examine(name: str, parts: Mapping[str, Part], longest: int, folder: Path) -> None:
    """Reads all documents, checks them and writes what was found into a folder.

    Bad are lines that are no object with both texts; documents without a sentence or summary, or
    with one that is no UTF-8 or has no visible character; documents of more than `longest`
    characters, or with such a summary; and training documents that an evaluation split has too.
    Documents that repeat an earlier one of their split are counted and listed.
    """

    def inspect(record: Record) -> Mapping[str, Any]:
        if record.get("broken"):
            raise BadRecord(record["broken"], "broken")
        sentences, summaries = texts_in(record["document"]), texts_in(record["summaries"])
        whole = b" ".join(b" ".join(sentences).split())
        require_good(whole, longest)
        if not summaries:
            raise BadRecord("has no summary", "empty")
        for summary in summaries:
            _require_good_summary(summary, longest)
        # Space and the borders of sentences make no other document.
        return {"hash": content_hash(whole)}

    tables, bad = inspect_parts(name, parts, inspect, _FACTS)
    bad += duplicates(tables, parts, "document")
    cleaning = {"repeated": repeated(tables, parts)}
    keep_findings(folder, parts, tables, bad, cleaning, ("hash",))


def _require_good_summary(summary: bytes, longest: int) -> None:
    try:
        require_good(summary, longest)
    except BadRecord as error:
        raise BadRecord(f"has a summary that {error}", error.kind) from None
