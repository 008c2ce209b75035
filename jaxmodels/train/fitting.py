"""Values of flags that come from files and notebooks, fitted to the types of their fields."""

import os
import reprlib
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from jaxmodels.errors import InputError, closest

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "None",
}
_LARGEST = 2**63  # one more than an integer of 64 bits holds


def fit(name: str, value: Any, hint: Any) -> Any:
    """Returns a value as the type hint of a field wants it: 3.0 and np.int64(3) become 3 where a
    whole number is expected, a list becomes a tuple and a path becomes text.

    Raises:
      InputError: it does not fit; it names the field, the value and what is expected.
    """
    try:
        return _fitted(_plain(value), hint)
    except _Misfit:
        known = [choice for choice in get_args(_bare(hint)) if isinstance(choice, str)]
        near = closest(value, known).rstrip(".") if isinstance(value, str) else ""
        raise InputError(f"{name} = {_shown(value)}; expected {_described(hint)}{near}") from None


class _Misfit(Exception):
    """Says that a value does not fit a hint."""


def _plain(value: Any) -> Any:
    """Converts a scalar of numpy or jax to that of Python, and a path to text."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _fitted(value: Any, hint: Any) -> Any:
    hint = _bare(hint)
    kind = get_origin(hint)
    if kind in (Union, types.UnionType):
        return _fitted_to_one(value, get_args(hint))
    if kind is Literal:
        matches = [c for c in get_args(hint) if type(c) is type(value) and c == value]
        return matches[0] if matches else _refuse()
    if kind is tuple:
        return _fitted_tuple(value, get_args(hint))
    if hint in _KINDS:
        return _fitted_scalar(value, hint)
    return value


def _fitted_to_one(value: Any, hints: tuple) -> Any:
    """Fits a value to the first of several types that takes it."""
    # None comes first, because only None fits it.
    for hint in sorted(hints, key=lambda hint: hint is not type(None)):
        try:
            return _fitted(value, hint)
        except _Misfit:
            continue
    return _refuse()


def _fitted_tuple(value: Any, hints: tuple) -> tuple:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        _refuse()
    if hints[1:] == (...,):
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        _refuse()
    return tuple(_fitted(_plain(part), hint) for part, hint in zip(value, hints))


def _fitted_scalar(value: Any, kind: type) -> Any:
    if kind is str and isinstance(value, str) and "\0" not in value:
        return str.__str__(value)
    if kind in (bool, type(None)) and isinstance(value, kind):
        return value
    if kind in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        if kind is float:
            return float(value) if isinstance(value, float) or abs(value) < 2**1023 else _refuse()
        if float("-inf") < value < float("inf") and value == int(value) and abs(value) < _LARGEST:
            return int(value)
    return _refuse()


def _refuse() -> Any:
    raise _Misfit


def _described(hint: Any) -> str:
    """Says in words what fits a hint."""
    hint = _bare(hint)
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(_described(part) for part in parts)
    if kind is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if kind is tuple and parts[1:] == (...,):
        return f"a list, each {_described(parts[0])}"
    if kind is tuple:
        return f"a list of {len(parts)}: {', '.join(map(_described, parts))}"
    return _KINDS.get(hint, str(hint))


def _shown(value: Any) -> str:
    """Writes a value on one short line, whatever it is."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    text = " ".join(short.repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
