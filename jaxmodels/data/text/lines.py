"""Lines of text that a user names, as windows of tokens to score."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text.given import given_texts
from jaxmodels.data.text.tokenizers import Tokenizer
from jaxmodels.data.text.windows import SlidingWindows
from jaxmodels.errors import InputError

Columns = dict[str, np.ndarray]


def read_text_lines(
    given: Path | Sequence[str], tokenizer: Tokenizer, context: int, stride: int
) -> Iterator[tuple[str, Columns | Exception]]:
    """Yields each line of a text file, or each of several strings, with its columns: "tokens"
    [windows, context + 1], "scored" [windows, context] and "bytes" of UTF-8; or, in place of the
    columns, the error of a line that cannot be read or encoded.

    All lines have as many windows as the longest needs, so that one program serves all.

    Raises:
      InputError: no file, or no line.
    """
    lines = list(given_texts(given, "a document"))
    encoded = [error or _encoded(line, tokenizer) for line, error in lines]
    whole = [tokens for tokens in encoded if not isinstance(tokens, Exception)]
    most = max((SlidingWindows(len(one), context, stride).size for one in whole), default=1)
    for (line, _), tokens in zip(lines, encoded, strict=True):
        if isinstance(tokens, Exception):
            yield line, tokens
        else:
            columns = _columns(tokens, SlidingWindows(len(tokens), context, stride), most)
            yield line, {**columns, "bytes": np.array(len(line.encode()), np.int32)}


def _encoded(line: str, tokenizer: Tokenizer) -> np.ndarray | Exception:
    """Encodes a line; the end of a document before it is what its first token is predicted from.
    Returns the error of a line that cannot be encoded, or has no token that could be predicted."""
    try:
        [tokens] = tokenizer.encode([line])
    except (InputError, BadRecord) as error:
        return error
    before = [] if tokenizer.end is None else [tokenizer.end]
    whole = np.concatenate([np.array(before, tokens.dtype), tokens])
    return whole if len(whole) > 1 else BadRecord("has no token to score")


def _columns(tokens: np.ndarray, windows: SlidingWindows, most: int) -> Columns:
    """Cuts a line into windows, and fills up with windows that score nothing."""
    places = windows.of(np.arange(windows.size))
    at = places["start"][:, None] + np.arange(windows.context + 1)
    cut = np.where(at < len(tokens), tokens[np.minimum(at, len(tokens) - 1)], 0)
    target = np.arange(windows.context)
    scored = (target >= places["skip"][:, None]) & (at[:, 1:] < len(tokens))
    missing = [(0, most - windows.size), (0, 0)]
    return {"tokens": np.pad(cut.astype(np.int32), missing), "scored": np.pad(scored, missing)}
