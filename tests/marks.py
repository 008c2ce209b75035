"""Marks of single cases."""

import pytest


def slow(*values):
    """Makes a parametrized case that the short run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)
