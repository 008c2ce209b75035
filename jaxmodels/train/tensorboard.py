"""TensorBoard event files from the lines of metrics.jsonl, without TensorFlow.

A file is a sequence of records, each framed by its length and two checksums, holding an `Event`
of tensorflow/core/util/event.proto. Only four of its fields are needed, so they are encoded here:
the `tensorboard` package would bring a server and gRPC, tensorboardX imports torch if it is there.
"""

import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

# TensorBoard reads any file whose name has "tfevents" in it.
FILE = "events.out.tfevents.metrics"


def write_events(lines: Sequence[dict], folder: Path) -> None:
    """Makes `folder` hold exactly these lines of metrics.jsonl: SPLIT/events.out.tfevents.metrics,
    a folder per split, so that TensorBoard draws the splits of a score over one another.

    The bytes of a file are a function of the lines, those of fewer lines being their beginning. So
    a file that is the beginning of what it should be is continued, which a TensorBoard that is
    watching notices, and any other (say, of a run that was resumed before the step it had
    reached) is replaced: no step is ever there twice.
    """
    splits: dict[str, list[dict]] = {}
    for line in lines:
        splits.setdefault(re.sub(r"[^\w-]", "_", line["split"]), []).append(line)
    for stale in set(folder.glob(f"*/{FILE}")) - {folder / split / FILE for split in splits}:
        stale.unlink()
    for split, own in splits.items():
        path = folder / split / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        _continue(path, b"".join(encode_events(own)))


def _continue(path: Path, content: bytes) -> None:
    before = path.read_bytes() if path.exists() else b""
    if before and content.startswith(before):
        with open(path, "ab") as file:
            file.write(content[len(before) :])
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def encode_events(lines: Sequence[dict]) -> Iterator[bytes]:
    """The records of one split's file: its version, then one for each line with all its scores.

    A score that is null is written as NaN. Wall times are not recorded, since they are no function
    of the run; the seconds since 1970 are the step, so that TensorBoard's time axes show steps.
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
    length = struct.pack("<Q", len(content))
    return b"".join(
        [
            length,
            struct.pack("<I", _masked(crc32c(length))),
            content,
            struct.pack("<I", _masked(crc32c(content))),
        ]
    )


def _event(wall_time: float, step: int, what: bytes) -> bytes:
    """Event: wall_time = 1 (double), step = 2 (int64), file_version = 3 or summary = 5."""
    return b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + what


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message: Summary.value = 1, Value.tag = 1."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _float(number: int, value: float | None) -> bytes:
    """A field of 32 bits: Value.simple_value = 2. What is too large for it is infinite."""
    try:
        packed = struct.pack("<f", float("nan") if value is None else value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else -float("inf"))
    return _varint(number << 3 | 5) + packed


def _varint(value: int) -> bytes:
    """An integer of at least 0, seven bits a byte, the lowest first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)


def _masked(checksum: int) -> int:
    """As TFRecord stores it, since a checksum of data with checksums in it is a weak one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(content: bytes) -> int:
    """Castagnoli's checksum of 32 bits (RFC 3720, appendix B.4)."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = _TABLE[(checksum ^ byte) & 255] ^ checksum >> 8
    return checksum ^ 0xFFFFFFFF
