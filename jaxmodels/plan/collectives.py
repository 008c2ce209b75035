"""The collectives of a compiled program, read from its text."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8}
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?(%?[\w.-]+(?:, ?%?[\w.-]+)*)")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_TRIPS = re.compile(r'known_trip_count[^0-9}]*"?n"?[^0-9]*(\d+)')


class Collective(NamedTuple):
    """All collectives of one kind over one group of axes, in one step, on one device."""

    kind: str
    axes: str  # of the mesh, as "data+fsdp"; the size of the groups where they are no axes
    size: int  # devices of a group
    count: int
    bytes: int  # of the whole arrays that they give (of a reduce-scatter: take)

    @property
    def sent(self) -> float:
        """The bytes that each device has to send in a ring."""
        share = (self.size - 1) / self.size
        if self.kind == "collective-permute":
            return self.bytes
        return self.bytes * share * (2 if self.kind == "all-reduce" else 1)


def collectives_of(text: str, mesh: Mesh) -> list[Collective]:
    """Returns the collectives of the text of a program. What a loop of known length holds counts as
    often as it runs, and the loop over steps once. A TPU's programs begin, go on with and end one
    collective in several fusions, which share its channel: it counts once."""
    bodies = dict(_computations(text))
    entry = next((name for name in bodies if name.startswith("ENTRY ")), "")
    found: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])

    def visit(name: str, times: int, fused: set[str] | None = None) -> None:
        own: set[str] = set()  # channels of the fusions of this computation
        for line in bodies.get(name, ()):
            operation, channel = _OPERATION.search(line), _CHANNEL.search(line)
            if operation and channel and fused is not None:
                if channel[1] in fused:
                    continue
                fused.add(channel[1])
            if operation:
                shapes, kind, is_start = operation.groups()
                axes, size = _axes_of(line, mesh)
                if size > 1:
                    entry = found[kind, axes, size]
                    entry[0] += times
                    entry[1] += times * _whole_bytes(shapes, kind, bool(is_start), size)
                continue
            inner = _length(line, bodies) if " while(" in line else 1
            within = own if fused is None and " fusion(" in line else fused
            for called in _CALLED.findall(line):
                for each in called.replace("%", "").split(","):
                    visit(each.strip(), times * inner, within)

    visit(entry, 1)
    return [Collective(*key, *numbers) for key, numbers in sorted(found.items())]


def _length(line: str, bodies: dict[str, list[str]]) -> int:
    """Returns how often a loop runs: as the compiler says, else the one number that its condition
    compares with, else once."""
    if trips := _TRIPS.search(line):
        return int(trips[1])
    condition = re.search(r"condition=%?([\w.-]+)", line)
    text = "\n".join(bodies.get(condition[1], [])) if condition else ""
    limits = set(re.findall(r"s32\[\]\S* constant\((\d+)\)", text)) - {"0", "1"}
    return int(limits.pop()) if len(limits) == 1 else 1


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" ") and not line.startswith("HloModule"):
            is_entry = line.startswith("ENTRY")
            bare = line.removeprefix("ENTRY ").split(" ")[0].removeprefix("%")
            name, lines = ("ENTRY " if is_entry else "") + bare, []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name:
            lines.append(line)


def _whole_bytes(shapes: str, kind: str, is_start: bool, size: int) -> int:
    numbers = []
    for dtype, dimensions in re.findall(r"\b([a-z]+\d+\w*|pred)\[([\d,]*)\]", shapes):
        width = _BYTES.get(dtype, 4)
        numbers.append(width * int(np.prod([int(n) for n in dimensions.split(",") if n] or [1])))
    total = sum(numbers)
    if kind == "all-gather" and is_start:  # the inputs are among the shapes
        return total * size // (size + 1)
    if kind == "reduce-scatter":
        return total * size * (size if is_start else 1) // (size + 1 if is_start else 1)
    if kind == "collective-permute" and is_start:
        return max(numbers)
    return total


def _axes_of(line: str, mesh: Mesh) -> tuple[str, int]:
    """Names the axes over which a collective goes, and the size of its groups."""
    groups = _groups_of(line, mesh.size)
    size = max(map(len, groups))
    wanted = {frozenset(group) for group in groups}
    numbers = np.arange(mesh.size).reshape(mesh.devices.shape)
    names = list(mesh.shape)
    for count in range(1, len(names) + 1):
        for axes in combinations(range(len(names)), count):
            rows = np.moveaxis(numbers, axes, range(-count, 0))
            rows = rows.reshape(-1, int(np.prod([mesh.devices.shape[axis] for axis in axes])))
            if {frozenset(row) for row in rows.tolist()} == wanted:
                return "+".join(names[axis] for axis in axes if mesh.devices.shape[axis] > 1), size
    if "collective-permute" in line:
        return "neighbours", 2
    return f"groups of {size}", size


def _groups_of(line: str, count: int) -> list[list[int]]:
    listed = re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", line)
    if listed:
        return [
            [int(n) for n in group.split(",")] for group in re.findall(r"\{([\d, ]+)\}", listed[1])
        ]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    if iota:
        shape, dims, order = (
            [int(n) for n in part.split(",")] if part else None for part in iota.groups()
        )
        numbers = np.arange(count).reshape(dims or [count])
        if order:
            numbers = numbers.transpose(order)
        return numbers.reshape(shape or [1, count]).tolist()
    by_axes = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", line
    )
    if by_axes:
        return _groups_by_axes(by_axes[1], by_axes[2], by_axes[3], count)
    if "source_target_pairs" in line:
        return [[0, 1]]
    return [list(range(count))]


def _groups_by_axes(mesh: str, order: str | None, axes: str, count: int) -> list[list[int]]:
    """Reads groups that are written as axes of a mesh, as mesh['a'=4,'b'=2] {'a'}; 'a':(2)2 is a
    part of an axis, after its first two."""
    sides = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    numbers = np.arange(count)
    if order and (permuted := re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", order)):
        shape, axes_order = permuted.groups()
        numbers = numbers.reshape([int(n) for n in shape.split(",")])
        if axes_order:
            numbers = numbers.transpose([int(n) for n in axes_order.split(",")])
    elif order:
        numbers = np.array([int(n) for n in order.split(",")])
    parts = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes)
    named, shape = [], []
    for name, side in sides.items():
        cuts = sorted((int(before), int(size)) for n, before, size in parts if n == name and before)
        at = 1
        for before, size in cuts:
            shape += [before // at, size]
            named.append(len(shape) - 1)
            at = before * size
        shape.append(side // at)
        if not cuts and any(n == name for n, _, _ in parts):
            named.append(len(shape) - 1)
    rows = np.moveaxis(numbers.reshape(shape), named, range(-len(named), 0))
    return rows.reshape(-1, int(np.prod([shape[axis] for axis in named]))).tolist()
