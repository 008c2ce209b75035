"""The environment of a run: versions, commit, machine."""

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


def environment(files: Sequence[Path] = ()) -> dict:
    """Returns versions, git commit, kind and count of devices, processor threads.

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
    }


def changed_bits(then: dict, now: dict) -> list[str]:
    """Describes each difference on which the bits of a result may depend."""
    names = ("packages", "machine", "threads", "platform", "device_kind", "device_count")
    return [
        f"{name} {then.get(name)} -> {now.get(name)}"
        for name in names
        if then.get(name) != now.get(name)
    ]


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
