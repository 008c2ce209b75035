"""Where the cache is, and what is said where it cannot be."""

import errno
import os
from pathlib import Path

import pytest

from jaxmodels.cache import cache_folder, not_written
from jaxmodels.errors import InputError, RunError


def test_the_variable_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path))
    assert cache_folder("data") == tmp_path / "data"
    monkeypatch.delenv("JAXMODELS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("data") == tmp_path / ".cache" / "jaxmodels" / "data"


@pytest.mark.parametrize("named", [None, "~nobody-at-all/cache"])
def test_without_a_home_the_variable_is_named(monkeypatch, named):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    if named:
        monkeypatch.setenv("JAXMODELS_CACHE", named)
    else:
        monkeypatch.delenv("JAXMODELS_CACHE")
    with pytest.raises(InputError, match="JAXMODELS_CACHE"):
        cache_folder("data")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EROFS, InputError), (errno.EACCES, InputError), (errno.ENOSPC, RunError)],
)
def test_path_and_cause_are_named(number, kind):
    error = not_written(Path("a"), OSError(number, os.strerror(number), "a/b"))
    assert type(error) is kind
    assert f"a/b: {os.strerror(number)}" in str(error) and "JAXMODELS_CACHE" in str(error)
