"""Programs as SavedModels: served by TensorFlow, or refused where it is not installed."""

import json
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.pretrained.programs import Program, exports_of

INPUTS = {"x": jax.ShapeDtypeStruct((3,), jnp.float32), "k": jax.ShapeDtypeStruct((), jnp.int32)}
MEANINGS = {"x": "numbers", "k": "a row", "y": "numbers", "z": "a number"}


def run(kernel, given):
    chosen = kernel[given["k"]]
    return {"y": given["x"] @ kernel, "z": jnp.sum(given["x"] * chosen, axis=-1)}


def test_programs_are_served_or_refused(tmp_path):
    """Two programs of one folder, for any number of examples."""
    twice = Program(lambda kernel, given: run(2 * kernel, given), INPUTS, MEANINGS)
    programs = {"once": Program(run, INPUTS, MEANINGS), "twice": twice}
    kernel = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    export = exports_of(programs)["saved_model"]
    if find_spec("tensorflow") is None:
        with pytest.raises(InputError, match="TensorFlow, which writes it, is not installed"):
            export(kernel, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    import tensorflow as tf  # pyright: ignore[reportMissingImports]

    export(kernel, tmp_path / "out")
    told = json.loads((tmp_path / "out/program.json").read_text())["programs"]
    assert told["once"]["outputs"]["y"]["shape"] == ["batch", 3] and told["twice"]["file"] == "."
    served = tf.saved_model.load(str(tmp_path / "out"))
    for count in (1, 4):
        x = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
        k = np.arange(count, dtype=np.int32) % 3
        for name, factor in (("once", 1), ("twice", 2)):
            found = served.signatures[name](x=tf.constant(x), k=tf.constant(k))
            np.testing.assert_allclose(found["y"], factor * x @ kernel, rtol=1e-5, atol=1e-6)
            wanted = factor * np.sum(x * kernel[k], axis=1)
            np.testing.assert_allclose(found["z"], wanted, rtol=1e-5, atol=1e-6)
