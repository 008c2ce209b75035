"""The objective in the package's docstring runs as it stands, and what is listed there exists."""

import importlib
import inspect
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels import across, objectives, protocol
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Objective

DOCUMENTATION = inspect.cleandoc(objectives.__doc__)
STEPS = 200


def _example():
    """The class that the documented code defines."""
    code = re.search(r"\n\n(    from dataclasses .*?)\n\nA script", DOCUMENTATION, re.DOTALL)[1]
    names = {"__name__": __name__}
    exec(textwrap.dedent(code), names)
    return names["Regression"]


def test_the_documented_objective_learns():
    config = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")
    objective = Objective.of(_example()(nn.Dense(1), config, STEPS))
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(x @ [1.0, -2.0, 0.5] + 3, jnp.float32)}
    spec = jax.tree.map(lambda column: jax.ShapeDtypeStruct(column.shape, column.dtype), batch)
    key = jax.random.key(0)
    state, step = objective.init(key, spec, objective.hyperparameters), jax.jit(objective.step)
    for _ in range(STEPS):
        state, sums = step(state, batch, key)
    valid = {**batch, "y": batch["y"].at[5].set(jnp.nan), "valid": jnp.arange(16) != 5}
    scores = objective.summarize(jax.jit(objective.evaluate)(state, valid, key))
    assert set(scores) == set(objective.summarize(sums)) == set(_example().scores)
    assert scores["loss"] < 1e-8
    assert state["params"]["kernel"][:, 0] == pytest.approx([1.0, -2.0, 0.5], abs=1e-3)


def test_what_the_documentation_lists_exists_and_is_documented():
    modules = [across, protocol] + [
        importlib.import_module(f"jaxmodels.objectives.{name}")
        for name in (
            "augmentation",
            "averaging",
            "descent",
            "gradients",
            "mup",
            "network",
            "optimizers",
            "parameter_kinds",
            "parts",
            "players",
            "preprocessing",
            "schedules",
            "spikes",
        )
    ]
    listed = DOCUMENTATION.partition("Building blocks")[2]
    lines = re.findall(r"^    (\w+(?:, \w+)*)  ?\S?", listed, re.MULTILINE)
    names = [name for line in lines for name in line.split(", ")]
    assert len(names) > 20
    for name in names:
        owners = [module for module in modules if hasattr(module, name)]
        assert owners and getattr(owners[0], name).__doc__, name


def test_the_package_imports_no_objective():
    public = [name for name in vars(objectives) if not name.startswith("_")]
    assert all(inspect.ismodule(getattr(objectives, name)) for name in public)
