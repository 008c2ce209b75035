"""Members of one program against members alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops import conv, map_members
from tests.ops.compiling import quick_jit


def _step(weights, x):
    gradient = jax.grad(lambda kernel: jnp.sum(jnp.sin(conv(x, kernel))))(weights["kernel"])
    return {"kernel": weights["kernel"] - 0.1 * gradient}, x.mean()


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 9])
def test_members_equal_vmap_and_lower_to_it_off_the_cpu(count):
    generator = np.random.default_rng(0)
    weights = {"kernel": jnp.asarray(generator.normal(size=(count, 3, 3, 2, 4)), jnp.float32)}
    x = jnp.asarray(generator.normal(size=(count, 5, 6, 6, 2)), jnp.float32)
    ours = quick_jit(map_members(_step))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        ours(weights, x),
        quick_jit(jax.vmap(_step))(weights, x),
    )
    on_cpu, on_gpu = (
        ours.trace(weights, x).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    )
    assert ("stablehlo.while" in on_cpu) == (count > 8)
    assert "stablehlo.while" not in on_gpu
