"""Writes programs as StableHLO, which jax alone loads and runs.

program = jax.export.deserialize(bytearray(open("classify.stablehlo", "rb").read()))
program.call(image=images)
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
from jax import export
from jaxtyping import PyTree

from jaxmodels.pretrained.programs import BATCH, Program, examples

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(programs: Mapping[str, tuple[Program, PyTree]], folder: Path) -> dict[str, str]:
    """Writes each program into a file of its own, for all platforms and any number of examples."""
    files = {}
    for name, (program, variables) in programs.items():
        files[name] = f"{name}.stablehlo"
        (folder / files[name]).write_bytes(exported(program, variables).serialize())
    return files


def exported(program: Program, variables: PyTree) -> export.Exported:
    """Exports a program that is called with its inputs by name; the variables are constants."""

    def call(**inputs):
        return program.run(variables, inputs)

    (count,) = export.symbolic_shape(BATCH)
    return partial(export.export(jax.jit(call), platforms=PLATFORMS), **examples(program, count))()
