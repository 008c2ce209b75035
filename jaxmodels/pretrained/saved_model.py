"""Writes programs as TensorFlow's SavedModel, each a signature of its name."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from jaxmodels.errors import InputError
from jaxmodels.pretrained.programs import BATCH, Program
from jaxmodels.pretrained.stablehlo import PLATFORMS


def write_saved_model(
    programs: Mapping[str, tuple[Program, PyTree]], folder: Path
) -> dict[str, str]:
    """Writes all programs into one SavedModel, the folder itself.

    Raises:
      InputError: TensorFlow is not installed.
    """
    if find_spec("tensorflow") is None:
        raise InputError(
            "format = saved_model; TensorFlow, which writes it, is not installed: pip install"
            " 'jaxmodels[tensorflow]', or export as --format stablehlo or onnx"
        )
    import tensorflow as tf  # pyright: ignore[reportMissingImports]

    module = tf.Module()
    # Otherwise nothing would hold them, and saving would not find them.
    module.kept = {}
    signatures = {}
    for name, (program, variables) in programs.items():
        module.kept[name] = kept = jax.tree.map(tf.Variable, jax.device_get(variables))
        signatures[name] = _signature(tf, program, kept)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return dict.fromkeys(programs, ".")


def _signature(tf: Any, program: Program, kept: PyTree) -> Any:
    from jax.experimental import jax2tf

    shapes = {
        name: ", ".join([BATCH, *map(str, leaf.shape)]) for name, leaf in program.inputs.items()
    }
    converted = jax2tf.convert(
        program.run,
        polymorphic_shapes=[None, shapes],
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    specs = {
        name: tf.TensorSpec([None, *leaf.shape], leaf.dtype, name=name)
        for name, leaf in program.inputs.items()
    }
    return tf.function(
        lambda **inputs: converted(kept, inputs), autograph=False
    ).get_concrete_function(**specs)
