"""What a plan says, as rows of words, for its text and its page alike."""

import math
from typing import NamedTuple

from jaxmodels.plan.compiled import Compiled
from jaxmodels.plan.roofline import Roofline, roofline_of
from jaxmodels.plan.topology import Topology
from jaxmodels.run_record import MFU_COUNTS
from jaxmodels.train.config import Config

_DAY = 86400  # seconds
_FREE = 0.92  # the share of a chip's memory that programs get; the rest is the runtime's


class Tried(NamedTuple):
    """What a search found of one set of flags."""

    flags: str
    peak: str  # bytes of a device; "": the step was not compiled
    result: str  # the time of a step, or why it is not to be had


class Plan(NamedTuple):
    """A run on devices that need not be there."""

    compiled: Compiled
    config: Config
    topology: Topology
    note: str  # what the step was compiled for
    tried: tuple[Tried, ...] = ()  # by a search

    @property
    def mesh(self) -> str:
        """The mesh as its flag has it."""
        return ",".join(f"{name}={size}" for name, size in self.compiled.mesh.items())

    @property
    def fits(self) -> bool:
        """Whether a step fits the memory of the chip."""
        return fits(self.compiled, self.topology)

    @property
    def roofline(self) -> Roofline | None:
        """The bounds of a step; None of a CPU."""
        chip = self.topology.chip
        return roofline_of(self.compiled, chip) if chip else None


def fits(compiled: Compiled, topology: Topology) -> bool:
    """Whether a step fits the memory of the chip."""
    return topology.chip is None or compiled.peak_bytes <= _FREE * topology.chip.memory


def memory_rows(plan: Plan) -> list[tuple[str, str]]:
    """Lists the bytes of one device, the last of them against its memory."""
    compiled = plan.compiled
    return [
        ("state", readable(compiled.state_bytes)),
        ("arguments", f"{readable(compiled.argument_bytes)} (state, data, keys)"),
        ("temporary", readable(compiled.temporary_bytes)),
        ("peak", readable(compiled.peak_bytes) + _verdict(plan)),
    ]


def _verdict(plan: Plan) -> str:
    if plan.topology.chip is None:
        return ""
    sign, verdict = ("<=", "it fits") if plan.fits else (">", "IT DOES NOT FIT")
    return f" {sign} {_FREE:.0%} of {readable(plan.topology.chip.memory)}: {verdict}"


def bound_rows(roofline: Roofline) -> list[tuple[str, str, str, str]]:
    """Lists the bounds of a step: what it is of, how much, by what it is divided, the time."""
    return [
        (
            bound.name,
            f"{bound.amount:.4g} {bound.unit}",
            f"{bound.rate:.3g} a second",
            duration(bound.seconds),
        )
        for bound in roofline.bounds
    ]


def comparisons(roofline: Roofline) -> list[str]:
    """Says which bound is the largest."""
    compute, memory, *sent = roofline.bounds
    of_links = sum(bound.seconds for bound in sent)
    limits = {"compute": compute.seconds, "memory": memory.seconds, "links": of_links}
    largest = max(limits, key=lambda name: limits[name])
    times = ", ".join(f"{name} {duration(value)}" for name, value in limits.items())
    lines = [f"{times}: bound by {largest}"]
    if compute.seconds:
        ratio = max(memory.seconds, of_links) / compute.seconds
        sign = "<=" if ratio <= 1 else ">"
        lines.append(f"(memory or links) / compute = {ratio:.2f} {sign} 1")
    return lines


def outcomes(plan: Plan, roofline: Roofline) -> list[str]:
    """Says how fast a step is, and how long the run takes."""
    low, high = roofline.mfu
    return [
        f"step {duration(roofline.fastest)} (all overlaps) to {duration(roofline.slowest)} (links"
        " do not)",
        f"MFU {low:.1%} to {high:.1%} of the chip's peak ({MFU_COUNTS})",
        *(f"{name} {slow} to {fast}" for name, slow, fast in rates(plan, roofline)),
        f"{plan.config.run.steps:,} steps: {', '.join(course(plan, roofline))} at most, without"
        " evaluations",
    ]


def work(plan: Plan) -> str:
    """Says how many operations a step has, and how many of them count in the MFU."""
    computed, needed = plan.compiled.operations, plan.compiled.needed
    each = computed / plan.topology.count
    return f"{computed:.4g} FLOP in all, {each:.4g} on a device; {needed:.4g} needed ({MFU_COUNTS})"


def rates(plan: Plan, roofline: Roofline) -> list[tuple[str, str, str]]:
    """Lists what is trained on a second: its name, how many at least, and at most."""
    amounts = {"examples": plan.compiled.batch_size, "tokens": plan.compiled.tokens}
    return [
        (f"{name} a second", _count(amount / roofline.slowest), _count(amount / roofline.fastest))
        for name, amount in amounts.items()
        if amount
    ]


def course(plan: Plan, roofline: Roofline) -> tuple[str, str]:
    """Says how long all steps take at most, in days too, and in device-hours."""
    total = plan.config.run.steps * roofline.slowest
    days = "" if total >= _DAY else f" ({_count(total / _DAY)} days)"
    hours = total / 3600 * plan.topology.count
    return duration(total) + days, f"{_count(hours)} device-hours"


def _count(amount: float) -> str:
    """Writes a number that may be small or large, with three digits at least."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def readable(size: float) -> str:
    """Writes bytes in the unit that fits."""
    if size <= 0:
        return "0 bytes"
    power = min(int(math.log(size, 1024)), 4)
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 1024**power:.4g} {unit}"


def duration(seconds: float) -> str:
    """Writes seconds in the unit that fits."""
    if seconds >= _DAY:
        return f"{seconds / _DAY:.2f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"
