"""Tables of training steps: a row per peer, compared with ours and with its floor.

The floor of a row is the time of its floating-point operations at the pace of a 2048 x 2048 matrix
product on the same machine.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from experiments.benchmarks.alternate import Timing, time_in_turns

_SIDE = 2048
_UNITS = {"us": 1e6, "ms": 1e3}


class Row(NamedTuple):
    """A peer's timing, and the floating-point operations that its step has to do."""

    title: str
    timing: Timing
    flops: int


def matrix_product(_: str) -> Callable[[int], None]:
    """Runs a peer whose step is one large matrix product, the fastest that the machine can do."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((_SIDE, _SIDE))
    multiply = jax.jit(lambda a: a @ a)

    def block(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(multiply(a))

    return block


def matrix_product_pace(turns: int, seconds: float) -> float:
    """Prints and returns the floating-point operations per second of `matrix_product`."""
    (product,) = time_in_turns(__name__, ["matrix_product"], "", turns, seconds)
    pace = 2 * _SIDE**3 / min(product.seconds)
    print(f"matrix product: {pace / 1e9:,.0f} GFLOP/s with {product.threads} threads", flush=True)
    return pace


def step_table(title: str, rows: Sequence[Row], pace: float, unit: Literal["us", "ms"]) -> str:
    """Makes the table of rows, the first of which is ours.

    pace: floating-point operations per second of the matrix product.
    """
    heads = (f"{unit}/step", "min", "max", "threads", "ours", "MFLOP", "floor")
    lines = ["", title, f"{'':30}" + "".join(f"{head:>10}" for head in heads)]
    mine = rows[0].timing
    digits = 0 if unit == "us" else 1
    for name, timing, flops in rows:
        if timing.unavailable:
            lines.append(f"{name:30}  not run ({timing.unavailable})")
            continue
        numbers = [timing.median, min(timing.seconds), max(timing.seconds)]
        columns = "".join(f"{_UNITS[unit] * number:>10,.{digits}f}" for number in numbers)
        known = timing is not mine and not mine.unavailable
        ratio = f"{timing.median / mine.median:,.2f}x" if known else ""
        share = f"{timing.median / (flops / pace):,.2f}x"
        lines.append(
            f"{name:30}{columns}{timing.threads:>10}{ratio:>10}{flops / 1e6:>10,.1f}{share:>10}"
        )
    return "\n".join(lines)
