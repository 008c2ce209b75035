"""Functions of a trained model, and the folder in which other programs find them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxmodels.errors import InputError
from jaxmodels.files import whole_folder, write_json
from jaxmodels.ops.portable import portable

BATCH = "batch"  # the name of the axis of examples, of which there may be any number
FACTS = "program.json"
FORMATS = ("stablehlo", "onnx", "saved_model")

Arrays = Mapping[str, Array]
Run = Callable[[PyTree, Arrays], Arrays]


@dataclass(frozen=True)
class Program:
    """A function that other programs call, with the model's variables inside of it.

    run: maps variables and inputs to outputs, all with a leading axis of examples; traceable, and
      the same for any number of them.
    inputs: shape and type of one example of each input.
    meanings: what each input and output is, for the reader.
    variables: makes the variables of a run's state, once.
    """

    run: Run
    inputs: Mapping[str, jax.ShapeDtypeStruct]
    meanings: Mapping[str, str]
    variables: Callable[[PyTree], PyTree] = lambda state: state


# Writes programs with their variables into a folder; returns the name of each one's file.
Writer = Callable[[Mapping[str, tuple[Program, PyTree]], Path], Mapping[str, str]]


def exports_of(
    programs: Mapping[str, Program],
    facts: Mapping[str, Any] = {},
    beside: Callable[[Path], object] | None = None,
) -> dict[str, Callable[[PyTree, Path], None]]:
    """Makes the functions that write programs of a state to a folder, by format.

    facts: what else a reader has to know, such as labels; they go to program.json.
    beside: writes other files into the folder, such as a tokenizer's.
    """
    from jaxmodels.pretrained.onnx_graph import write_onnx
    from jaxmodels.pretrained.saved_model import write_saved_model
    from jaxmodels.pretrained.stablehlo import write_stablehlo

    writers: Sequence[Writer] = (write_stablehlo, write_onnx, write_saved_model)
    return {
        name: partial(_export, programs, facts, beside, name, writer)
        for name, writer in zip(FORMATS, writers, strict=True)
    }


def _export(
    programs: Mapping[str, Program],
    facts: Mapping[str, Any],
    beside: Callable[[Path], object] | None,
    name: str,
    writer: Writer,
    state: PyTree,
    folder: Path,
) -> None:
    """Writes programs and the facts of them; the folder appears as a whole.

    Raises:
      InputError: the folder exists or cannot be written, or the format cannot hold a program.
    """
    if folder.exists():
        raise InputError(f"{folder} exists; name a folder that is to be made")
    # Arrays of other devices, and those of a mesh, would fix where the program runs.
    state = jax.device_put(jax.device_get(state), jax.local_devices()[0])
    bound = {key: (program, program.variables(state)) for key, program in programs.items()}
    try:
        with whole_folder(folder) as partial_folder, portable():
            files = writer(bound, partial_folder)
            described = {
                key: {"file": files[key], **_described(*pair)} for key, pair in bound.items()
            }
            content = {"format": name, "jax": metadata.version("jax"), "programs": described}
            write_json(partial_folder / FACTS, {**content, **facts}, indent=1)
            if beside is not None:
                beside(partial_folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None


def _described(program: Program, variables: PyTree) -> dict[str, Any]:
    """Describes inputs and outputs as JSON."""
    outputs = jax.eval_shape(program.run, variables, examples(program, 1))
    kinds = {
        "inputs": program.inputs,
        "outputs": {
            name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in outputs.items()
        },
    }
    return {
        kind: {
            name: {
                "shape": [BATCH, *leaf.shape],
                "type": str(np.dtype(leaf.dtype)),
                "meaning": program.meanings[name],
            }
            for name, leaf in leaves.items()
        }
        for kind, leaves in kinds.items()
    }


def examples(program: Program, count: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Gives shape and type of the inputs of `count` examples, a number or a symbol."""
    return {
        name: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype)
        for name, leaf in program.inputs.items()
    }
