"""The chunks that PNG and WebP files consist of, found without decoding them."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

PNG, _RIFF = b"\x89PNG\r\n\x1a\n", b"RIFF"


class Chunk(NamedTuple):
    """A chunk of a file: its name, and where what it holds starts and ends."""

    name: bytes
    start: int
    end: int


def png_chunks(encoded: bytes) -> Iterator[Chunk]:
    """Yields the chunks of a PNG, whose lengths may be wrong; none of another file."""
    at = len(PNG)
    while encoded.startswith(PNG) and at + 8 <= len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, at)
        yield Chunk(name, at + 8, at + 8 + length)
        at += 12 + length  # with the length, the name and a checksum


def webp_chunks(encoded: bytes) -> Iterator[Chunk]:
    """Yields the chunks of a WebP, whose lengths may be wrong; none of another file."""
    at, is_webp = 12, encoded[:4] == _RIFF and encoded[8:12] == b"WEBP"
    while is_webp and at + 8 <= len(encoded):
        name, length = struct.unpack_from("<4sI", encoded, at)
        yield Chunk(name, at + 8, at + 8 + length)
        at += 8 + length + length % 2
