"""The mesh, remat and accumulation that fit with the least predicted time."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.plan.compiled import Compiled
from jaxmodels.plan.facts import Tried, duration, fits, readable
from jaxmodels.plan.roofline import roofline_of
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
) -> tuple[Config, Compiled, tuple[Tried, ...]]:
    """Returns the config that fits with the least predicted time, its step, and all that was
    tried, of which standard error has a line each.

    Raises:
      InputError: none fits.
    """
    best, best_time, done, rows = None, float("inf"), set(), []

    def note(flags: Mapping[str, Any], peak: str, result: str) -> None:
        named = " ".join(f"--{name} {value}" for name, value in flags.items())
        rows.append(Tried(named, peak, result))
        print(f"{named}: {', '.join(filter(None, (peak, result)))}", file=sys.stderr)

    for flags in candidates(config, topology.count):
        if flags["mesh"] in done:
            continue
        try:
            tried = configure(config, **flags)
            tried.validate()
            compiled = compile_with(tried)
        except InputError as error:
            note(flags, "", str(error))
            if "mesh" in str(error):
                done.add(flags["mesh"])
            continue
        peak = readable(compiled.peak_bytes)
        if not fits(compiled, topology):
            note(flags, peak, "which does not fit")
            continue
        done.add(flags["mesh"])
        time = roofline_of(compiled, topology.chip).slowest if topology.chip else 0.0
        note(flags, peak, duration(time) if topology.chip else "no time of a CPU")
        if time < best_time:
            best, best_time = (tried, compiled), time
    if best is None:
        raise InputError(
            f"topology = {topology.name}; no mesh, remat or accumulation fits: expected a larger"
            " one, a smaller batch or model"
        )
    return *best, tuple(rows)


def _powers(most: int) -> Iterator[int]:
    size = 1
    while size <= most:
        if most % size == 0:
            yield size
        size *= 2
