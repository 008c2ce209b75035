"""The tokens of a split in one memory-mapped column, with the places of its documents."""

import mmap
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int, Shaped

from jaxmodels.data.kept import kept
from jaxmodels.data.text.corpus import Texts, mapped
from jaxmodels.data.text.tokenizers import Tokenizer
from jaxmodels.data.threads import ahead
from jaxmodels.errors import InputError

_FLUSHED = 1 << 16  # documents whose places are held in memory


@dataclass(frozen=True)
class TokenColumn:
    """The documents of a split, one behind the other, each with the end token behind it. The end
    token also begins the column, so that the first token of every document has something to be
    predicted from. Without an end token there is none of this.

    tokens: uint16, or uint32 for more than 65,536 of them. openings: where each document begins: at
    the end token before it, or at its first token if there is no end token.
    """

    tokens: Shaped[np.ndarray, " token"]
    openings: Int[np.ndarray, " document"]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """The bytes of the tokens."""
        return self.tokens.nbytes


def read_pages_alone(tokens: Shaped[np.ndarray, " token"]) -> None:
    """Tells the system that a mapped column is read in random places. Otherwise it reads 128 kB
    around each, of which a window needs two."""
    file = getattr(tokens, "_mmap", None)
    if file is not None and hasattr(mmap, "MADV_RANDOM"):
        file.madvise(mmap.MADV_RANDOM)


def token_type(size: int) -> np.dtype:
    """Returns the type of the tokens of a vocabulary."""
    return np.dtype(np.uint16 if size <= 1 << 16 else np.uint32)


def pack(
    name: str, splits: Mapping[str, Texts], tokenizer: Tokenizer, folder: Path
) -> dict[str, TokenColumn]:
    """Returns the columns of all splits. They are made at the first call and `kept` in `folder`,
    which must be of these texts and this tokenizer.

    Memory is that of a few pieces of text, and a large column is verified once, not by every
    process.

    Raises:
      InputError: text that the tokenizer refuses, or a cache that cannot be written.
    """

    def make(partial: Path) -> None:
        for split, texts in splits.items():
            print(f"encoding {texts.size:,} bytes of {name}/{split}, once", file=sys.stderr)
            with (
                open(partial / f"{split}.tokens", "wb") as tokens,
                open(partial / f"{split}.openings", "wb") as openings,
            ):
                _pack(texts, tokenizer, tokens, openings)

    return load_columns(kept(folder, make, trusted=True), splits, token_type(tokenizer.size))


def load_columns(
    folder: Path, splits: Mapping[str, object], dtype: np.dtype
) -> dict[str, TokenColumn]:
    """Maps the columns of splits into memory."""
    return {
        split: TokenColumn(
            mapped(folder / f"{split}.tokens", dtype),
            mapped(folder / f"{split}.openings", np.dtype(np.int64)),
        )
        for split in splits
    }


def _pack(texts: Texts, tokenizer: Tokenizer, file: BinaryIO, openings: BinaryIO) -> None:
    dtype, end = token_type(tokenizer.size), tokenizer.end
    places, size, opened = array("q"), 0, False

    def encode(batch):
        return batch, tokenizer.encode([text for _, text, _ in batch])

    if end is not None:
        size += file.write(np.array([end], dtype).data) // dtype.itemsize
    for batch, encoded in ahead(encode, texts.batches()):
        for (_, _, last), tokens in zip(batch, encoded):
            if not opened:
                places.append(size - (end is not None))
            # Words end a line with the end token, and with it the last line of a document.
            if last and end is not None and not (len(tokens) and tokens[-1] == end):
                tokens = np.append(tokens, np.int32(end))
            size += file.write(tokens.astype(dtype).data) // dtype.itemsize
            opened = not last
        if len(places) >= _FLUSHED:
            places.tofile(openings)
            del places[:]
    places.tofile(openings)
    if size < 2:
        raise InputError(f"tokenizer = {tokenizer.name} makes {size} tokens of a split; expected 2")
