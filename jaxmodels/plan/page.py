"""A plan as a page that opens offline, with the facts of its text."""

from jaxmodels.plan.collectives import Collective
from jaxmodels.plan.facts import (
    Plan,
    bound_rows,
    comparisons,
    course,
    memory_rows,
    outcomes,
    rates,
    readable,
    work,
)
from jaxmodels.plan.facts import duration as written
from jaxmodels.plan.roofline import Roofline, crosses_no_host
from jaxmodels.report.html import Html, cell_of, document, element, table
from jaxmodels.report.layout import Section, Tile, command, footer, heading, navigated, tiles
from jaxmodels.run_record import MFU_COUNTS
from jaxmodels.train.identity import command_of

# Tiles of more than a short number.
_LONG = {
    "devices",
    "FLOP of a step",
    "MFU",
    "examples a second",
    "tokens a second",
    "the whole run",
}


def plan_page(plan: Plan) -> str:
    """Writes the whole page."""
    roofline = plan.roofline
    sections = [
        Section("summary", "Summary", [_tiles(plan, roofline), _command(plan)]),
        Section("memory", "Memory of a device", [_memory(plan)]),
        Section("collectives", "Collectives of a step", [_collectives(plan)], _COUNTED),
        _time(plan, roofline),
        _search(plan) if plan.tried else None,
    ]
    status = None
    if plan.topology.chip:
        status = ("it fits", "good") if plan.fits else ("it does not fit", "bad")
    title = f"{plan.config.experiment} on {plan.topology.name}"
    head = heading("plan", title, f"mesh {plan.mesh}", status)
    end = footer("the step as the compiler made it; no step was run")
    body = [head, *navigated([part for part in sections if part]), end]
    return document(f"plan: {title}", body, {})


_COUNTED = (
    "A loop whose length the compiler does not say counts once. Of a ring, each sends a share."
)


def _tiles(plan: Plan, roofline: Roofline | None) -> Html:
    compiled = plan.compiled
    made: list[Tile] = [
        ("parameters", f"{compiled.parameters:,}", f"batches of {compiled.batch_size:,}"),
        ("peak of a device", readable(compiled.peak_bytes), _of_memory(plan)),
        ("FLOP of a step", f"{compiled.operations:.4g}", work(plan)),
    ]
    if roofline:
        slow, fast = roofline.slowest, roofline.fastest
        low, high = (f"{share:.1%}" for share in roofline.mfu)
        whole, hours = course(plan, roofline)
        made += [
            ("time of a step", written(slow), f"at most; {written(fast)} if links overlap"),
            ("MFU", f"{low} to {high}", f"of the chip's peak; {MFU_COUNTS}"),
            *((name, low, f"to {high}") for name, low, high in rates(plan, roofline)),
            ("the whole run", whole, f"at most; {hours}, without evaluations"),
        ]
    kind = f"{plan.topology.count} × {plan.topology.kind}"
    made.append(("devices", kind, f"{plan.note}, in {compiled.seconds:.1f} s"))
    return tiles(made, _LONG)


def _of_memory(plan: Plan) -> str:
    chip = plan.topology.chip
    return f"of {readable(chip.memory)}" if chip else "a CPU's memory is not known"


def _command(plan: Plan) -> Html:
    written = command_of(plan.config)
    return command("To train it", written, note="with the flags of this plan")


def _memory(plan: Plan) -> Html:
    rows = [list(row) for row in memory_rows(plan)]
    return table(None, rows, "memory of a device", class_="record", numeric=False)


def _collectives(plan: Plan) -> Html:
    found = plan.compiled.collectives
    if not found:
        return element("p", "There are none.", class_="note")
    rows = [
        [f"{c.kind} over {c.axes}", f"{c.size}", f"{c.count:,}", readable(c.bytes), *_sent(plan, c)]
        for c in found
    ]
    header = ["kind", "devices", "times", "bytes in all", "sent by each", "over"]
    return table(header, rows, "collectives of a step")


def _sent(plan: Plan, collective: Collective) -> list[str]:
    chip = plan.topology.chip
    if chip is None:
        return [readable(collective.sent), "no link is known"]
    over = "links" if crosses_no_host(collective, chip) else "the network"
    return [readable(collective.sent), over]


def _time(plan: Plan, roofline: Roofline | None) -> Section:
    note = "If nothing but this bound it (How to Scale Your Model, part 1)."
    if roofline is None:
        return Section("time", "Time of a step", [], "No promise is made of a CPU.")
    rows = [list(row) for row in bound_rows(roofline)]
    header = ["bound", "amount", "divided by", "time"]
    lines = [element("p", line) for line in [*comparisons(roofline), *outcomes(plan, roofline)]]
    return Section("time", "Time of a step", [table(header, rows, "time of a step"), *lines], note)


def _search(plan: Plan) -> Section:
    best = command_of(plan.config)
    rows = [[one.flags, one.peak or "none", cell_of(one.result, "td")] for one in plan.tried]
    header = ["flags", "peak of a device", "time of a step"]
    content = table(header, rows, "what the search tried")
    return Section("search", "Search", [content], f"The page is of the fastest: {best}")
