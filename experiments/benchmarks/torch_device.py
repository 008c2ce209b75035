"""Where the peers in PyTorch run: on a GPU if PyTorch sees one, else on the CPU.

torch is imported where it is used: other peers run without it.
"""

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# An environment variable: "0" lets products of float32 on a GPU have all their digits, in PyTorch;
# for jax, JAX_DEFAULT_MATMUL_PRECISION says so. Else both round their factors to TF32, which is
# what XLA does by default.
TF32 = "BENCHMARK_TF32"


def torch_device() -> "torch.device":
    """The device, with the settings under which it is compared."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    rounds = os.environ.get(TF32) != "0"
    torch.backends.cuda.matmul.allow_tf32 = rounds
    torch.backends.cudnn.allow_tf32 = rounds
    # The fastest algorithm by measurement, as XLA chooses it.
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def synchronize() -> None:
    """Returns when the device has done all that it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def autocast(bfloat16: bool) -> contextlib.AbstractContextManager:
    """The context in which activations are bfloat16 and parameters float32, or in which nothing is
    changed."""
    import torch

    if not bfloat16:
        return contextlib.nullcontext()
    return torch.autocast(torch_device().type, torch.bfloat16)
