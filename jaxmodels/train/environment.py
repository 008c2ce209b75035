"""The environment of a run: versions, commit, machine, and the settings that change numbers."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import jax

import jaxmodels

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")
_ROOT = Path(jaxmodels.__file__).parent
# Options of jax on which numbers depend, and variables that libraries below it read.
_OPTIONS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
    "jax_allow_f16_reductions",
    "jax_softmax_custom_jvp",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
)
_VARIABLES = ("NPROC", "NVIDIA_TF32_OVERRIDE")
# Flags of XLA on which no number depends: the devices are recorded by their count.
_NOT_NUMERIC = (
    "--xla_dump_",
    "--xla_force_host_platform_device_count",
    "--xla_gpu_cuda_data_dir",
    "--xla_gpu_per_fusion_autotune_cache",
    "--xla_hlo_profile",
)


def environment(files: Sequence[Path] = ()) -> dict:
    """Returns versions, git commit, kind and count of devices, processor threads, settings.

    files: of the run's code, which the commit has or has not.
    """
    device = jax.devices()[0]
    return {
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "git_commit": _git_commit(files),
        "machine": platform.machine(),
        "threads": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "platform": device.platform,
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "settings": settings(),
    }


def settings() -> dict[str, str]:
    """Returns the options of jax, flags of XLA and variables on which numbers depend, as text."""
    options = {name: getattr(jax.config, name) for name in _OPTIONS if hasattr(jax.config, name)}
    variables = {name: os.environ.get(name, "") for name in _VARIABLES}
    flags = os.environ.get("XLA_FLAGS", "").split()
    # Where a flag is given twice, XLA heeds the last one.
    numeric = {flag.partition("=")[0]: flag for flag in flags if not flag.startswith(_NOT_NUMERIC)}
    text = " ".join(numeric[name] for name in sorted(numeric))
    return {name: str(value) for name, value in options.items()} | variables | {"XLA_FLAGS": text}


def changed_bits(then: dict, now: dict) -> list[str]:
    """Describes each difference on which the bits of a result may depend. What a record does not
    know, because it is older, is no difference."""
    names = ("machine", "threads", "platform", "device_kind", "device_count")
    pairs = [(name, then, now) for name in names]
    for group in ("packages", "settings"):
        known = then.get(group)
        if isinstance(known, dict):
            pairs += [(name, known, now[group]) for name in known]
    return [
        f"{name} {_shown(before[name])} -> {_shown(after.get(name))}"
        for name, before, after in pairs
        if name in before and before[name] != after.get(name)
    ]


def _shown(value: object) -> str:
    return "unset" if value in ("", None) else str(value)


def _git_commit(files: Sequence[Path]) -> str | None:
    """Returns the commit of the source, with "+" when it was edited or lacks a file of the code;
    None outside of git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        edited = git("status", "--porcelain", "--untracked-files=no", "--", str(_ROOT.parent))
        top = Path(git("rev-parse", "--show-toplevel"))
        known = {top / name for name in git("ls-files", "-z", "--full-name", str(top)).split("\0")}
        edited = edited or not known.issuperset(path.resolve() for path in files)
        return git("rev-parse", "HEAD") + ("+" if edited else "")
    except (OSError, subprocess.SubprocessError):
        return None
