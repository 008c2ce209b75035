"""Faults of the machine end a run with one line that says what to do."""

import errno
import multiprocessing
import os
import signal
import sys
import time
import types

import jax
import jax.numpy as jnp
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.train import checkpoint, configure, main, memory
from jaxmodels.train.children import Children
from jaxmodels.train.faults import describe_fault, is_bad_path, require_runtime
from jaxmodels.train.memory import available_memory, require_memory
from tests.train.toys import CONFIG, experiment, regression


def _build(config):
    return experiment(regression())


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/full/file"), 1, "failed: /full/file: "),
        (PermissionError(errno.EACCES, "Permission denied", "/mine"), 1, "failed: /mine: Permiss"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/long"), 2, "error: /long: File name"),
        (
            MemoryError("could not allocate 800 bytes"),
            1,
            "(800 bytes were asked for); lower",
        ),
        (RunError("worker"), 1, "failed: worker"),
        (InputError("steps = 0"), 2, "error: steps = 0"),
    ],
)
def test_each_is_one_line_and_a_code(capsys, tmp_path, error, code, says):
    def build(config):
        raise error

    assert main(type(CONFIG), build, arguments=["--workdir", str(tmp_path)]) == code
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_an_output_that_a_shell_has_closed_is_done_without(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(type(CONFIG), _build, arguments=["--version"]) == 0
    sys.stdout.close()


def test_what_a_library_reports_too_late_is_hidden(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    checkpoint._hide_late_reports.__wrapped__()
    for text in ("Event loop is closed", "another"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(unraisable.exc_value) for unraisable in seen] == ["another"]


def test_an_error_of_the_program_keeps_its_traceback(tmp_path):
    def build(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main(type(CONFIG), build, arguments=["--workdir", str(tmp_path)])
    assert describe_fault(ZeroDivisionError()) is None
    assert not is_bad_path(ZeroDivisionError())


def test_the_device_s_memory_is_told_apart_from_other_faults_of_jax():
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 40 bytes.")
    assert "40 bytes were asked for" in (describe_fault(full) or "")
    assert describe_fault(jax.errors.JaxRuntimeError("INTERNAL: a bug")) is None


def test_programs_that_are_not_compiled_are_refused():
    with jax.disable_jit(), pytest.raises(InputError, match="JAX_DISABLE_JIT is set"):
        require_runtime()
    require_runtime()


@pytest.mark.parametrize("flag", ["workdir", "output"])
def test_paths_of_another_machine_are_refused(tmp_path, capsys, flag):
    arguments = [f"--{flag}", "gs://bucket/run"]
    assert main(type(CONFIG), _build, arguments=arguments) == 2
    assert f"{flag} = gs://bucket/run; expected a path of this machine" in capsys.readouterr().err


def _compiled(batch):
    x = jax.ShapeDtypeStruct((batch, 1000), jnp.float32)
    w = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    return jax.jit(lambda w, x: w + jnp.sin(x).T @ jnp.cos(x)).lower(w, x).compile()


def test_a_step_that_does_not_fit_is_refused_with_one_that_does(monkeypatch):
    config = configure(CONFIG, batch_size=4096)
    compiled = _compiled(4096)
    require_memory(compiled, config)
    stats = compiled.memory_analysis()
    fixed = stats.argument_size_in_bytes + stats.output_size_in_bytes
    monkeypatch.setattr(memory, "available_memory", lambda: fixed + stats.temp_size_in_bytes // 4)
    expected = r"batch_size = 4096 does not fit the memory: .* expected about --batch-size 1024"
    with pytest.raises(InputError, match=expected):
        require_memory(compiled, config)
    monkeypatch.setattr(memory, "available_memory", lambda: fixed // 2)
    with pytest.raises(InputError, match=r"the model does not fit .* expected a smaller model"):
        require_memory(compiled, config)


def test_memory_that_is_free():
    available = available_memory()
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available is not None and 0 < available <= physical


def _sleep():
    time.sleep(60)


def test_a_child_that_died_is_named():
    child = multiprocessing.get_context("spawn").Process(target=_sleep, daemon=True)
    children = Children()
    children.require_alive()
    child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.perf_counter() + 20
    with pytest.raises(RunError, match=f"process {child.pid} ended with exit code -9"):
        while time.perf_counter() < deadline:
            children.require_alive()
            time.sleep(0.05)
    assert children.failed
    child.join()
