"""What tests of every experiment ask of a run: it resumes to the bit, and devices agree."""

import os
import signal

import jax
import numpy as np

from jaxmodels.train import configure, train


def resumed_to_the_bit(build, config, data, folder, step=4):
    """Trains whole, and in two parts with a request to stop after a step; both end with the same
    bits. Returns the result of the whole run."""
    whole = train(build, configure(config, workdir=str(folder / "whole")), data)

    def interrupted(config, data):
        return build(config, data)._replace(
            describe=lambda at, *_: os.kill(os.getpid(), signal.SIGTERM) if at == step else None
        )

    parts = configure(config, workdir=str(folder / "parts"), accept_code_change=True)
    assert not train(interrupted, parts, data).finished
    resumed = train(build, parts, data)
    for a, b in zip(*(jax.tree.leaves(r.state) for r in (whole, resumed)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return whole


def same_on_other_devices(build, config, data, whole, tolerance):
    """Trains as the config says; the parameters are those of a whole run. Returns the result."""
    many = train(build, config, data)
    for a, b in zip(*(jax.tree.leaves(r.state["params"]) for r in (whole, many)), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return many
