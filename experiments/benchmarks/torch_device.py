"""The device of the peers in PyTorch: a GPU if PyTorch sees one, else the CPU.

torch is imported where it is used: other peers run without it.
"""

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# If this environment variable is "0", PyTorch multiplies float32 on a GPU with all digits (jax has
# JAX_DEFAULT_MATMUL_PRECISION for that). Otherwise it rounds factors to TF32, XLA's default.
TF32 = "BENCHMARK_TF32"


def torch_device() -> "torch.device":
    """Returns the device, after it has set the conditions of the comparison."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    rounds = os.environ.get(TF32) != "0"
    torch.backends.cuda.matmul.allow_tf32 = rounds
    torch.backends.cudnn.allow_tf32 = rounds
    # cuDNN measures which algorithm is the fastest, as XLA does.
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def synchronize() -> None:
    """Waits until the device has done all its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def autocast(bfloat16: bool) -> contextlib.AbstractContextManager:
    """Makes a context in which activations are bfloat16 and parameters float32; without `bfloat16`
    it changes nothing."""
    import torch

    if not bfloat16:
        return contextlib.nullcontext()
    return torch.autocast(torch_device().type, torch.bfloat16)
