"""The device as jax, PyTorch and the driver describe it, and its peak performance.

python -m experiments.benchmarks.accelerator.device     # the facts as a line of JSON
"""

import json
import os
import subprocess
import sys
from typing import Any

# TFLOP/s of dense products, from NVIDIA's data sheets. The first entry whose words all occur in the
# name of the device counts. float32 is ordinary arithmetic, tf32 that of the matrix units.
PEAKS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (("H200", "NVL"), {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5}),
    (("H200",), {"float32": 67.0, "tf32": 494.5, "bfloat16": 989.5}),
    (("H100", "PCIe"), {"float32": 51.0, "tf32": 378.0, "bfloat16": 756.0}),
    (("H100", "NVL"), {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5}),
    (("H100",), {"float32": 67.0, "tf32": 494.5, "bfloat16": 989.5}),
    (("A100",), {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0}),
)
_RECORDED = ("XLA_", "JAX_", "CUDA_", "NVIDIA_", "TF_", "TORCH", "OMP_", "PYTORCH_")


def peak(device_kind: str, precision: str) -> float | None:
    """Finds the most floating-point operations per second; None for an unknown device."""
    for words, peaks in PEAKS:
        if all(word.lower() in device_kind.lower() for word in words):
            return 1e12 * peaks[precision]
    return None


def facts() -> dict[str, Any]:
    """Collects versions, device, memory, driver and variables that may change what runs."""
    import jax

    from jaxmodels.train.environment import environment

    device = jax.local_devices()[0]
    memory = device.memory_stats() if device.platform != "cpu" else None
    known = {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "memory_bytes": (memory or {}).get("bytes_limit"),
        "jax": jax.__version__,
        "cores": os.cpu_count(),
        "driver": _driver(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_RECORDED)},
    }
    try:
        known["made_with"] = environment()
    except Exception as error:  # facts about packages must not hide those of the device
        known["made_with"] = repr(error)
    return known | _torch_facts()


def _torch_facts() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:  # PyTorch may be missing or broken, which its peers report
        return {"torch": None, "torch_problem": f"{type(error).__name__}: {error}"[:200]}
    seen = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "torch_device": torch.cuda.get_device_name() if seen else "cpu",
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if seen else None,
    }


def _driver() -> str | None:
    query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
