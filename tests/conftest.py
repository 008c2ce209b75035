"""Environment of the tests: it must be set before anything imports jax.

Parity tests live in modules of their own that open with `torch = pytest.importorskip("torch")` and
`pytestmark = pytest.mark.parity`, so that they skip themselves where torch is absent.
"""

import os
import tempfile

_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Here and not in a fixture, so that modules that read it when imported see it too. The object is
# kept: the folder is removed with it, when the session ends.
_cache = tempfile.TemporaryDirectory(prefix="jaxmodels-tests-")
os.environ["JAXMODELS_CACHE"] = _cache.name

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def float64():
    """Runs the test with 64-bit types, which stay off elsewhere."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def fast_compiling():
    """For modules whose tests run many programs a few times each: programs that XLA compiles in a
    quarter of the time, and optimises hardly at all."""
    jit, quick = jax.jit, {"xla_cpu_use_fusion_emitters": False}

    def quick_jit(function, **options):
        return jit(function, **options | {"compiler_options": quick})

    before = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", quick_jit)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", before)
