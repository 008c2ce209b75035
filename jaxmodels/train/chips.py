"""What chips can do, as published: the numbers that a roofline is made of.

Sources: TPUs and the formulas, "How to Scale Your Model" (Austin et al. 2025, chapters "How to
Think About TPUs" and "GPUs"), whose link numbers count both directions; GPUs, NVIDIA's data sheets
(dense bfloat16).
"""

import re
from typing import NamedTuple


class Chip(NamedTuple):
    """One accelerator."""

    flops: float  # a second, dense, bfloat16
    memory: float  # bytes
    memory_bandwidth: float  # bytes a second
    link_bandwidth: float  # bytes a second of one axis of the network between chips of a slice
    link: str
    host: int  # chips of a host or of a network island
    slow_bandwidth: float = 25e9  # bytes a second of a chip beyond it


CHIPS = {
    "v4": Chip(2.75e14, 32e9, 1.2e12, 9.0e10, "ICI", 4096),
    "v5e": Chip(1.97e14, 16e9, 8.1e11, 9.0e10, "ICI", 256),
    "v5p": Chip(4.59e14, 96e9, 2.8e12, 1.8e11, "ICI", 8960),
    "v6e": Chip(9.20e14, 32e9, 1.6e12, 1.8e11, "ICI", 256),
    "a100": Chip(3.12e14, 80e9, 2.0e12, 3.0e11, "NVLink", 8),
    "h100": Chip(9.89e14, 80e9, 3.35e12, 4.5e11, "NVLink", 8, 5.0e10),
    "h200": Chip(9.89e14, 141e9, 4.8e12, 4.5e11, "NVLink", 8, 5.0e10),
    "b200": Chip(2.25e15, 192e9, 8.0e12, 9.0e11, "NVLink", 8, 5.0e10),
}
TPUS = ("v4", "v5e", "v5p", "v6e")

# What jax calls them. Variants with other clocks, such as PCIe cards, are not among them.
_NAMES = {
    r"TPU v4": "v4",
    r"TPU v5( lite|e)": "v5e",
    r"TPU v5p?": "v5p",
    r"TPU v6( lite|e)": "v6e",
    r"NVIDIA A100-SXM4-80GB": "a100",
    r"NVIDIA H100 80GB HBM3": "h100",
    r"NVIDIA H200": "h200",
    r"NVIDIA B200": "b200",
}


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip that jax calls by this name; None where it is not known, so that no share of
    its peak can be computed."""
    for pattern, name in _NAMES.items():
        if re.fullmatch(pattern, device_kind):
            return CHIPS[name]
    return None
