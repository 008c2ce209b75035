"""Marks of single cases."""

from collections.abc import Iterable

import pytest


def slow(*values):
    """Makes a parametrized case that the short run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def campaign(*values):
    """Makes a parametrized case that is tried on demand, as `-m campaign`."""
    return pytest.param(*values, marks=pytest.mark.campaign)


def slow_but(kept, cases: Iterable) -> list:
    """Marks all cases as slow but one, which stands for them in the short run."""
    return [case if case == kept else slow(case) for case in cases]
