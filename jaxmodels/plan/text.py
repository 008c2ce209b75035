"""A plan as text: every number with what it is compared with."""

from jaxmodels.plan.facts import (
    Plan,
    bound_rows,
    comparisons,
    memory_rows,
    outcomes,
    readable,
    work,
)


def text_of(plan: Plan) -> str:
    """Writes the plan of a run."""
    compiled, topology = plan.compiled, plan.topology
    lines = [
        f"plan of {plan.config.experiment} on {topology.name} ({topology.count} devices), mesh"
        f" {plan.mesh}",
        f"  {plan.note}, in {compiled.seconds:.1f} s",
        f"  parameters {compiled.parameters:,}, batch {compiled.batch_size:,}",
        "",
        "memory of a device",
        *(f"  {name:<10} {size}" for name, size in memory_rows(plan)),
        "",
        f"work of a step: {work(plan)}",
        "",
        "collectives of a step (a loop whose length the compiler does not say counts once)",
    ]
    lines += [
        f"  {c.kind:<18} over {c.axes:<12} ({c.size} devices): {c.count} of"
        f" {readable(c.bytes)} in all, {readable(c.sent)} sent by each"
        for c in compiled.collectives
    ] or ["  none"]
    roofline = plan.roofline
    if roofline is None:
        return "\n".join([*lines, "", "time: no promise is made of a CPU"])
    bounds = [
        f"  {name}: {amount} / {rate} = {time}" for name, amount, rate, time in bound_rows(roofline)
    ]
    title = "time of a step, if nothing but this bound it (How to Scale Your Model, part 1)"
    compared = [f"  {line}" for line in comparisons(roofline)]
    return "\n".join([*lines, "", title, *bounds, *compared, *outcomes(plan, roofline)])
