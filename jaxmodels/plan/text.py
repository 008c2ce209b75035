"""A plan as text: every number with what it is compared with."""

import math

from jaxmodels.plan.compiled import Compiled
from jaxmodels.plan.roofline import Roofline, roofline_of
from jaxmodels.plan.topology import Topology
from jaxmodels.train.config import Config

_FREE = 0.92  # the share of a chip's memory that programs get; the rest is the runtime's


def text_of(compiled: Compiled, config: Config, topology: Topology, note: str) -> str:
    """Writes the plan of a run."""
    mesh = ",".join(f"{name}={size}" for name, size in compiled.mesh.items())
    lines = [
        f"plan of {config.experiment} on {topology.name} ({topology.count} devices), mesh {mesh}",
        f"  {note}, in {compiled.seconds:.1f} s",
        f"  parameters {compiled.parameters:,}, batch {compiled.batch_size:,}",
        "",
        "memory of a device",
        f"  state      {readable(compiled.state_bytes)}",
        f"  arguments  {readable(compiled.argument_bytes)} (state, data, keys)",
        f"  temporary  {readable(compiled.temporary_bytes)}",
        f"  peak       {readable(compiled.peak_bytes)}{_fits(compiled, topology)}",
        "",
        f"work of a step: {compiled.operations:.4g} FLOP in all,"
        f" {compiled.operations / topology.count:.4g} on a device",
        "",
        "collectives of a step (a loop whose length the compiler does not say counts once)",
    ]
    lines += [
        f"  {c.kind:<18} over {c.axes:<12} ({c.size} devices): {c.count} of"
        f" {readable(c.bytes)} in all, {readable(c.sent)} sent by each"
        for c in compiled.collectives
    ] or ["  none"]
    if topology.chip is None:
        lines += ["", "time: no promise is made of a CPU"]
        return "\n".join(lines)
    roofline = roofline_of(compiled, topology.chip)
    return "\n".join([*lines, "", *_time(roofline, compiled, config, topology)])


def fits(compiled: Compiled, topology: Topology) -> bool:
    """Whether a step fits the memory of the chip."""
    return topology.chip is None or compiled.peak_bytes <= _FREE * topology.chip.memory


def _fits(compiled: Compiled, topology: Topology) -> str:
    if topology.chip is None:
        return ""
    sign = "<=" if fits(compiled, topology) else ">"
    verdict = "it fits" if sign == "<=" else "IT DOES NOT FIT"
    return f" {sign} {_FREE:.0%} of {readable(topology.chip.memory)}: {verdict}"


def _time(roofline: Roofline, compiled: Compiled, config: Config, topology: Topology) -> list[str]:
    lines = ["time of a step, if nothing but this bound it (How to Scale Your Model, part 1)"]
    for bound in roofline.bounds:
        lines.append(
            f"  {bound.name}: {bound.amount:.4g} {bound.unit} / {bound.rate:.3g} a second ="
            f" {_seconds(bound.seconds)}"
        )
    compute, memory, *sent = roofline.bounds
    of_links = sum(bound.seconds for bound in sent)
    limits = {"compute": compute.seconds, "memory": memory.seconds, "links": of_links}
    largest = max(limits, key=lambda name: limits[name])
    lines.append(
        "  "
        + ", ".join(f"{name} {_seconds(value)}" for name, value in limits.items())
        + f": bound by {largest}"
    )
    if compute.seconds:
        ratio = max(memory.seconds, of_links) / compute.seconds
        sign = "<=" if ratio <= 1 else ">"
        lines.append(f"  (memory or links) / compute = {ratio:.2f} {sign} 1")
    low, high = roofline.mfu
    rate = compiled.batch_size / roofline.slowest, compiled.batch_size / roofline.fastest
    total = config.run.steps * roofline.slowest
    lines += [
        f"step {_seconds(roofline.fastest)} (all overlaps) to {_seconds(roofline.slowest)} (links"
        f" do not); {low:.0%} to {high:.0%} of the chip's peak at most (MFU, where nothing is"
        " computed again)",
        f"examples a second {rate[0]:,.0f} to {rate[1]:,.0f}",
        f"{config.run.steps:,} steps: {_seconds(total)} at most,"
        f" {total / 3600 * topology.count:,.1f} device-hours, without evaluations",
    ]
    return lines


def readable(size: float) -> str:
    """Writes bytes in the unit that fits."""
    if size <= 0:
        return "0 bytes"
    power = min(int(math.log(size, 1024)), 4)
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 1024**power:.4g} {unit}"


def _seconds(seconds: float) -> str:
    if seconds >= 86400:
        return f"{seconds / 86400:.2f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"
