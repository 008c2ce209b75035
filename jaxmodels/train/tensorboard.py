"""TensorBoard event files from the lines of metrics.jsonl, without TensorFlow.

A file is a sequence of records, each framed by its length and two checksums, holding an `Event`
of tensorflow/core/util/event.proto. Only four of its fields are needed, so they are encoded here,
since the `tensorboard` package would bring a server and gRPC, and tensorboardX torch.
"""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxmodels.files import write_atomically

# TensorBoard reads any file whose name has "tfevents" in it.
FILE = "events.out.tfevents.metrics"


def write_events(lines: Sequence[dict], folder: Path) -> None:
    """Makes `folder` hold exactly these lines of metrics.jsonl, in a folder and file per split.

    The folders are apart so that TensorBoard draws the splits of a score over one another. The
    bytes of a file depend on the lines alone, and fewer lines give the beginning of the same bytes.
    A file that is the beginning of what it should be is continued, which a watching TensorBoard
    notices. Any other file is replaced, for example after a run was resumed before the step that
    it had reached. So no step is ever there twice.
    """
    splits: dict[str, list[dict]] = {}
    for line in lines:
        splits.setdefault(re.sub(r"[^\w-]", "_", line["split"]), []).append(line)
    for stale in set(folder.glob(f"*/{FILE}")) - {folder / split / FILE for split in splits}:
        stale.unlink()
    for split, own in splits.items():
        _continue(folder / split / FILE, b"".join(encode_events(own)))


def _continue(path: Path, content: bytes) -> None:
    """Makes a file hold this content, by adding to it where it holds the beginning."""
    before = path.read_bytes() if path.exists() else b""
    if before and content.startswith(before):
        with open(path, "ab") as file:
            file.write(content[len(before) :])
        return
    write_atomically(path, lambda file: file.write(content))


def encode_events(lines: Sequence[dict]) -> Iterator[bytes]:
    """Makes the records of one split's file: its version, then each line with all its scores.

    A score that is null is written as NaN. Wall times would differ between equal runs, so the step
    stands in their place and TensorBoard's time axes show steps.
    """
    yield _record(_event(0, 0, _field(3, b"brain.Event:2")))
    for line in lines:
        values = b"".join(
            _field(1, _field(1, name.encode("utf-8", "replace")) + _float(2, value))
            for name, value in line.items()
            if name not in ("step", "split")
        )
        yield _record(_event(line["step"], line["step"], _field(5, values)))


def _record(content: bytes) -> bytes:
    """Frames a message by its length and checksums, as TFRecord does."""
    length = struct.pack("<Q", len(content))
    return b"".join(
        [
            length,
            struct.pack("<I", _masked(crc32c(length))),
            content,
            struct.pack("<I", _masked(crc32c(content))),
        ]
    )


def _event(wall_time: float | int, step: int, what: bytes) -> bytes:
    """Encodes an Event: wall_time = 1, step = 2, and what is file_version = 3 or summary = 5."""
    return b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + what


def _field(number: int, content: bytes) -> bytes:
    """Encodes a field of bytes, text or a message: Summary.value = 1, Value.tag = 1."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _float(number: int, value: float | None) -> bytes:
    """Encodes a field of 32 bits: Value.simple_value = 2. Values too large for it are infinite."""
    value = math.nan if value is None else value
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", math.inf if value > 0 else -math.inf)
    return _varint(number << 3 | 5) + packed


def _varint(value: int) -> bytes:
    """Encodes an integer of at least 0 by seven bits a byte, the lowest first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)


def _masked(checksum: int) -> int:
    """Masks a checksum as TFRecord does, since checksums of data that hold checksums are weak."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    """Computes the checksum's step for each value of a byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(content: bytes) -> int:
    """Computes Castagnoli's checksum of 32 bits (RFC 3720, appendix B.4)."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = _TABLE[(checksum ^ byte) & 255] ^ checksum >> 8
    return checksum ^ 0xFFFFFFFF
