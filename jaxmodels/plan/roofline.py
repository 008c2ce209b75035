"""How fast a compiled step can be: what it computes, moves and sends, over what the chip can do."""

import math
from typing import NamedTuple

from jaxmodels.plan.collectives import Collective
from jaxmodels.plan.compiled import Compiled
from jaxmodels.train.chips import Chip


class Bound(NamedTuple):
    """One lower bound of the time of a step, as a division."""

    name: str
    amount: float
    unit: str
    rate: float

    @property
    def seconds(self) -> float:
        """The time that it takes."""
        return self.amount / self.rate


class Roofline(NamedTuple):
    """The bounds of a step on one chip.

    fastest: all overlap; slowest: nothing does.
    """

    bounds: list[Bound]
    fastest: float
    slowest: float
    mfu: tuple[float, float]  # at slowest, at fastest, of the operations that are needed


def roofline_of(compiled: Compiled, chip: Chip) -> Roofline:
    """Computes the bounds of a step on a chip."""
    own = compiled.operations / math.prod(compiled.mesh.values())
    bounds = [Bound("compute", own, "FLOP", chip.flops)]
    # State and data are read and written once, and temporaries written and read, at least.
    moved = compiled.argument_bytes + compiled.output_bytes + 2 * compiled.temporary_bytes
    bounds.append(Bound("memory", moved, "bytes", chip.memory_bandwidth))
    for collective in compiled.collectives:
        rate = chip.link_bandwidth if crosses_no_host(collective, chip) else chip.slow_bandwidth
        name = f"{collective.kind} over {collective.axes}"
        bounds.append(Bound(name, collective.sent, "bytes", rate))
    sent = sum(bound.seconds for bound in bounds[2:])
    fastest = max(bounds[0].seconds, bounds[1].seconds, sent)
    slowest = max(bounds[0].seconds, bounds[1].seconds) + sent
    ideal = compiled.needed / math.prod(compiled.mesh.values()) / chip.flops
    return Roofline(bounds, fastest, slowest, (ideal / slowest, ideal / fastest))


def crosses_no_host(collective: Collective, chip: Chip) -> bool:
    """Whether the devices of a group can lie in one host, or in one slice of a TPU."""
    return collective.size <= chip.host
