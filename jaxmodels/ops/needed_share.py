"""Says of products that compute more than they need which share is needed, to count operations.

The mark is a name around operations. It stays on all that derivatives, loops and `vmap` make of
them, and is no part of a program.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import jax

_MARK = re.compile(r"needs_(\d+)_of_(\d+)")


@contextmanager
def marked(share: Fraction) -> Iterator[None]:
    """Marks the products that are traced inside, of which only a share is needed."""
    with jax.named_scope(f"needs_{share.numerator}_of_{share.denominator}"):
        yield


def share_in(names: str) -> Fraction | None:
    """Reads the mark in the names around an operation; None where there is none."""
    found = _MARK.search(names)
    return Fraction(int(found[1]), int(found[2])) if found else None


def needed_pairs(length: int, window: int = 0) -> Fraction:
    """Counts the pairs of a query and a key that causal attention over a sequence needs: half of
    the square of its length (Dao 2023, FlashAttention-2, section 4.1), and with a window without
    those that only a longer one has."""
    unseen = max(length - window, 0) if window else 0
    return Fraction(length**2 - unseen**2, 2)
