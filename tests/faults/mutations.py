"""Hostile inputs made of good ones: bytes, values of JSON and words of a command, by a seed."""

import copy
import json
import random
from typing import Any

NASTY_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "ünïcode ☃",
    "-",
    "--",
    "=",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1e4",
    "9" * 400,
    "-1",
    "0",
    "None",
    "true",
    "../..",
    "/dev/null",
    "~",
    "s3://bucket/x",
    "\n",
    "\x1b[31m",
    "x" * 5000,
    "{}",
    "[",
    "%s%n",
    "$(true)",
)
NASTY_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    {"": {}},
    [None] * 100,
)


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes with a few of them changed, cut, doubled, moved or replaced."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        way, size = chance.randrange(8), max(len(data), 1)
        at = chance.randrange(size)
        to = min(size, at + chance.choice((1, 2, 16, size)))
        if way == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif way == 1:
            del data[at:]
        elif way == 2:
            del data[at:to]
        elif way == 3:
            data[at:at] = chance.randbytes(chance.choice((1, 8, 64)))
        elif way == 4:
            data[at:at] = data[at:to]
        elif way == 5:
            data[at:to] = bytes(to - at)
        elif way == 6:
            data[at:to] = b"\xff" * (to - at)
        else:
            data[at:at] = chance.choice((b"[" * 20_000, b'{"a":' * 5000, b"1" * 5000, b"\n", b"\0"))
    return bytes(data)


def mutated_value(value: Any, chance: random.Random) -> Any:
    """A value of JSON in which one or a few parts are others."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        value = _mutated(value, chance)
    return value


def _mutated(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice([*value])
        way = chance.randrange(8)
        if way == 0:
            del value[name]
        elif way == 1:
            value[chance.choice(NASTY_TEXTS)] = nasty_value(chance)
        else:
            value[name] = _mutated(value[name], chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        value[at] = _mutated(value[at], chance)
        return value
    return nasty_value(chance)


def nasty_value(chance: random.Random) -> Any:
    """A value that readers of JSON stumble over."""
    way = chance.randrange(12)
    if way == 0:
        value: Any = []
        for _ in range(chance.choice((5, 40, 200))):
            value = [value] if chance.random() < 0.5 else {"a": value}
        return value
    if way < 5:
        return chance.choice(NASTY_TEXTS)
    return copy.deepcopy(chance.choice(NASTY_VALUES))


def mutated_json(content: bytes, chance: random.Random, lines: bool = False) -> bytes:
    """A file of JSON, or of JSON lines, with values or bytes changed."""
    if chance.random() < 0.3:
        return mutated_bytes(content, chance)
    if not lines:
        return _dumped(mutated_value(json.loads(content), chance), chance)
    rows = content.splitlines()
    for _ in range(chance.choice((1, 1, 3))):
        at = chance.randrange(len(rows))
        way = chance.randrange(5)
        if way == 0:
            rows[at : at + 1] = [rows[at]] * chance.randrange(3)
        else:
            rows[at] = _dumped(mutated_value(json.loads(rows[at]), chance), chance)
        if not rows:
            return b""
        rows = [row for row in rows if _is_json(row)] or [b"{}"]
    return b"\n".join(rows) + b"\n"


def _dumped(value: Any, chance: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _is_json(row: bytes) -> bool:
    try:
        json.loads(row)
    except ValueError:
        return False
    return True


def mutated_words(words: list[str], flags: list[str], chance: random.Random) -> list[str]:
    """A command with flags misspelt, doubled, left without a value or given another."""
    words = list(words)
    for _ in range(chance.choice((1, 1, 2, 4))):
        way = chance.randrange(7)
        at = chance.randrange(len(words) + 1)
        flag = "--" + chance.choice(flags).replace("_", "-")
        if way == 0:
            words[at:at] = [flag, chance.choice(NASTY_TEXTS)]
        elif way == 1:
            words[at:at] = [f"{flag}={chance.choice(NASTY_TEXTS)}"]
        elif way == 2:
            spelt = list(flag)
            spelt[chance.randrange(2, len(spelt))] = chance.choice("abz-.=é ")
            words[at:at] = ["".join(spelt), "1"]
        elif way == 3 and words:
            words[at % len(words)] = chance.choice(NASTY_TEXTS)
        elif way == 4 and words:
            del words[at % len(words)]
        elif way == 5:
            words[at:at] = [flag, *chance.choices(NASTY_TEXTS, k=chance.randrange(4))]
        else:
            words[at:at] = [flag, str(chance.choice((0, 1, 7, -3, 0.5, 2**40, 1e300)))]
    return words
