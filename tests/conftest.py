"""Environment of the tests: it must be set before anything imports jax.

Parity tests live in modules of their own that open with `torch = pytest.importorskip("torch")` and
`pytestmark = pytest.mark.parity`, so that they skip themselves where torch is absent.
"""

import functools
import gc
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import FunctionType

import jaxtyping

_flags = ["--xla_force_host_platform_device_count=8"]
# On a busy machine eight devices on two cores wait long for each other; by default XLA then aborts.
_flags.append("--xla_cpu_collective_call_terminate_timeout_seconds=900")
# Most programs of tests run once, so they are hardly optimised: that compiles several times faster.
# The gate sets this variable where tests read programs.
_quick = not os.environ.get("JAXMODELS_TESTS_OPTIMIZED")
if _quick:
    # A small program is compiled in one piece: pieces are for many cores.
    _flags.append("--xla_cpu_parallel_codegen_split_count=1")
if _quick and version("jaxlib").startswith("0.10."):  # later ones end at a flag they do not know
    _flags.append("--xla_cpu_use_fusion_emitters=false")
# What the caller set comes last, so that it wins.
os.environ["XLA_FLAGS"] = " ".join([*_flags, os.environ.get("XLA_FLAGS", "")]).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Compiled programs outlive the session, because compiling takes most of its time. The variables
# reach the processes that tests start.
_home = Path(os.environ.get("JAXMODELS_CACHE") or Path.home() / ".cache" / "jaxmodels")
_programs = f"tests-xla-jax{version('jax')}-jaxlib{version('jaxlib')}-py{platform.python_version()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_home.expanduser() / _programs))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Data and judges do not outlive it. This is no fixture, so that modules see it when imported. The
# object is kept, because the folder is removed with it.
_cache = tempfile.TemporaryDirectory(prefix="jaxmodels-tests-")
os.environ["JAXMODELS_CACHE"] = _cache.name

_jaxtyped = jaxtyping.jaxtyped


def _jaxtyped_when_called(function=None, *, typechecker):
    """Makes the checks of a function at its first call: most of those imported are never called."""
    if not isinstance(function, FunctionType):
        if function is None:
            return functools.partial(_jaxtyped_when_called, typechecker=typechecker)
        return _jaxtyped(function, typechecker=typechecker)
    checked = None

    @functools.wraps(function)
    def checks_and_calls(*args, **kwargs):
        nonlocal checked
        if checked is None:
            checked = _jaxtyped(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    return checks_and_calls


# Every annotated function of the package checks types and shapes when a test calls it.
# A whole number is a float, as for every other reader of annotations.
_checker = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.jaxtyped = _jaxtyped_when_called
jaxtyping.install_import_hook("jaxmodels", _checker)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import config as checks  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# Two models that both give NaN do not agree.
np.testing.assert_allclose = functools.partial(np.testing.assert_allclose, equal_nan=False)

_savefig = Figure.savefig


def _save_blank(figure, file, *, format, dpi):
    """Writes a picture of the figure's size, without what takes longest of a short run: its text
    and lines."""
    from PIL import Image

    size = (figure.get_size_inches() * dpi).astype(int)
    Image.new("RGBA", tuple(map(int, size))).save(file, format)


# Here and in no fixture, so that fixtures of modules are as fast.
Figure.savefig = _save_blank

# Not by its variable, so that processes that tests start are not told so.
jax.config.update("jax_disable_most_optimizations", _quick)
# Programs of tests do not need to know the lines that they were traced from.
jax.config.update("jax_traceback_in_locations_limit", 0)


def pytest_ignore_collect(collection_path, config):
    """Leaves modules of parity tests alone where these are not to run: they import torch."""
    short = config.option.markexpr.startswith("not (") and "parity" in config.option.markexpr
    return True if short and collection_path.name.endswith("_parity.py") else None


def pytest_collection_finish(session):
    """Collects garbage seldom: tracing makes many objects, of which few are in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def pytest_xdist_auto_num_workers(config):
    """Starts one worker more than there are cores, because runs wait for what is being saved."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def float64():
    """Runs the test with 64-bit types, which stay off elsewhere."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimized():
    """Compiles the programs of the test as users do, in so far as XLA's flags allow it."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", _quick)


@pytest.fixture
def unchecked():
    """Lets the test pass what annotations forbid, to see what the function itself says to it."""
    checks.update("jaxtyping_disable", True)
    yield
    checks.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def drawn():
    """Draws the figures of the module, which are blank elsewhere."""
    Figure.savefig = _savefig
    yield
    Figure.savefig = _save_blank


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Frees the compiled programs of a module, of which a whole session holds gigabytes."""
    yield
    jax.clear_caches()
