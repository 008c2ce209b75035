"""Compilation for tests that run many small programs once."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

# They turn off most of what XLA does after a program is lowered, which is most of its time.
_CHEAPER = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


@cache
def quick_options() -> dict[str, int | bool]:
    """Returns the options for `jax.jit(..., compiler_options=)` that this XLA knows."""
    known = {}
    for name, value in _CHEAPER.items():
        try:
            jax.jit(lambda: jnp.zeros(())).lower().compile(compiler_options={name: value})
        except (jax.errors.JaxRuntimeError, ValueError):
            continue
        known[name] = value
    return known


def quick_jit(function: Callable, **options) -> Callable:
    """Jits a function whose program is to be compiled quickly and optimised hardly at all."""
    return jax.jit(function, compiler_options=quick_options(), **options)
