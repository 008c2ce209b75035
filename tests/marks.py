"""Cases of several tests, and marks of single ones."""

from collections.abc import Iterable

import pytest

# Every mesh of eight devices.
MESHES = [
    f"data={data},fsdp={fsdp},model={8 // data // fsdp}"
    for data in (1, 2, 4, 8)
    for fsdp in (1, 2, 4, 8)
    if data * fsdp <= 8
]


def slow(*values):
    """Makes a parametrized case that the short run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def campaign(*values):
    """Makes a parametrized case that is tried on demand, as `-m campaign`."""
    return pytest.param(*values, marks=pytest.mark.campaign)


def slow_but(kept, cases: Iterable) -> list:
    """Marks all cases as slow but one, which stands for them in the short run."""
    return [case if case == kept else slow(case) for case in cases]
