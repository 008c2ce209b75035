"""The mesh, remat and accumulation that fit with the least predicted time."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.plan.compiled import Compiled
from jaxmodels.plan.roofline import roofline_of
from jaxmodels.plan.text import fits, readable
from jaxmodels.plan.topology import Topology
from jaxmodels.train.config import Config, configure, flags_of

_REMATS = ("none", "block", "full")
_PARTS = (1, 2, 4, 8)


def candidates(config: Config, devices: int) -> Iterator[dict[str, Any]]:
    """Yields flags to try for each mesh, the cheapest first: the next is only for what did not
    fit."""
    flags = flags_of(config)
    remats = _REMATS if "remat" in flags else (None,)
    parts = _PARTS if "accumulate" in flags else (None,)
    for model in _powers(min(devices, 8)):
        for fsdp in _powers(devices // model):
            mesh = f"data={devices // model // fsdp},fsdp={fsdp},model={model}"
            for accumulate in parts:
                if accumulate and config.run.batch_size % accumulate:
                    continue
                for remat in remats:
                    found = {"mesh": mesh, "remat": remat, "accumulate": accumulate}
                    yield {name: value for name, value in found.items() if value is not None}


def search(
    config: Config, topology: Topology, compile_with: Callable[[Config], Compiled]
) -> tuple[Config, Compiled]:
    """Returns the config that fits with the least predicted time, and its step.

    Raises:
      InputError: none fits.
    """
    best, best_time, done = None, float("inf"), set()
    for flags in candidates(config, topology.count):
        if flags["mesh"] in done:
            continue
        named = " ".join(f"--{name} {value}" for name, value in flags.items())
        try:
            tried = configure(config, **flags)
            tried.validate()
            compiled = compile_with(tried)
        except InputError as error:
            print(f"{named}: {error}", file=sys.stderr)
            if "mesh" in str(error):
                done.add(flags["mesh"])
            continue
        peak = readable(compiled.peak_bytes)
        if not fits(compiled, topology):
            print(f"{named}: {peak}, which does not fit", file=sys.stderr)
            continue
        done.add(flags["mesh"])
        time = roofline_of(compiled, topology.chip).slowest if topology.chip else 0.0
        print(f"{named}: {peak}, {1e3 * time:.3g} ms", file=sys.stderr)
        if time < best_time:
            best, best_time = (tried, compiled), time
    if best is None:
        raise InputError(
            f"topology = {topology.name}; no mesh, remat or accumulation fits: expected a larger"
            " one, a smaller batch or model"
        )
    return best


def _powers(most: int) -> Iterator[int]:
    size = 1
    while size <= most:
        if most % size == 0:
            yield size
        size *= 2
