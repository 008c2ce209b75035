"""What tests need of torchvision beside a torch that it was not built for."""

from experiments.benchmarks.torchvision_shim import allow_torchvision

__all__ = ["allow_torchvision"]
