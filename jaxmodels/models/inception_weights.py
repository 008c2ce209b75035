"""Loads the weights of `FIDInception` from a file, and converts the published PyTorch file.

    python -m jaxmodels.models.inception_weights IN.pth OUT.safetensors

IN is `pt_inception-2015-12-05-6726825d.pth` from
https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, or torch-fidelity's
`weights-inception-2015-12-05-6726825d.pth`, and is read with torch, which nothing else here needs.
OUT, .safetensors or .npz, holds float32 arrays named "Conv2d_1a_3x3/conv/kernel" and so on, kernels
[height, width, inputs, outputs].
"""

import argparse
import pickle
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically
from jaxmodels.models.inception import FIDInception
from jaxmodels.pretrained import SUFFIXES, check_weights, read_weights, require_stored

_NETWORK = "FID Inception"
# The file leaves out a count of training steps, and the bias that scores do not use.
_UNUSED = ("num_batches_tracked", "fc/bias")


def load_inception(path: str | Path) -> dict:
    """Loads the variables of `FIDInception` from a .safetensors or .npz file by `convert`.

    Raises:
      InputError: no such file, another suffix, an unreadable file, names or shapes that are not
        those of the network, or numbers that are not finite.
    """
    path = _with_known_suffix(path)
    _require_file(path)
    weights = read_weights(path, _shapes(), _NETWORK)
    weights = {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()}
    return {"params": unflatten_dict(weights, sep="/")}


def convert(source: str | Path, target: str | Path) -> None:
    """Converts the published PyTorch file to a file for `load_inception`.

    Raises:
      InputError: as `load_inception`; torch is not installed, or `target` cannot be written.
    """
    source, target = Path(source), _with_known_suffix(target)
    _require_file(source)
    tensors = {
        name.replace(".", "/"): tensor
        for name, tensor in _read_torch(source).items()
        if not name.replace(".", "/").endswith(_UNUSED)
    }
    # Shapes first: a tensor may be a view that is larger than what is stored of it.
    layout = {name: _flax_layout(name, tensor.ndim) for name, tensor in tensors.items()}
    shapes = {
        called: tuple(tensors[name].shape[axis] for axis in axes)
        for name, (called, axes) in layout.items()
    }
    check_weights(source, shapes, _shapes(), _NETWORK)
    # The arrays are made contiguous, because safetensors writes their memory and ignores strides.
    weights = {
        called: np.ascontiguousarray(tensors[name].float().numpy().transpose(axes))
        for name, (called, axes) in layout.items()
    }
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise InputError(f"{source}: {name} has numbers that are not finite; expected weights")
    try:
        if target.suffix == ".npz":
            write_atomically(target, lambda file: np.savez(file, **weights))
        else:
            content = safetensors.numpy.save(weights)
            write_atomically(target, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None


def _read_torch(path: Path) -> dict[str, Any]:
    """Reads the tensors of a PyTorch file by their names there."""
    try:
        import torch
    except ImportError:
        raise InputError(
            f"reading {path} needs torch, which is not installed; pip install torch (any machine"
            " may convert)"
        ) from None
    require_stored(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.detach() for name, tensor in state.items()}
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is not a PyTorch file of named tensors: it is damaged, or it holds other"
            " objects, and making these could run any code"
        ) from None
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise InputError(
            f"{path} is not a PyTorch file of named tensors: {_first_line(error)}"
        ) from None


def _flax_layout(name: str, dimensions: int) -> tuple[str, tuple[int, ...]]:
    """Returns flax's name, and the places of its axes in torch's kernels [outputs, inputs, (height,
    width)]."""
    if dimensions < 2:
        return name, tuple(range(dimensions))
    axes = (2, 3, 1, 0) if dimensions == 4 else tuple(range(dimensions))[::-1]
    return name.removesuffix("weight") + "kernel", axes


@cache
def _shapes() -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(FIDInception().init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in flatten_dict(variables["params"], sep="/").items()}


def _with_known_suffix(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path} has suffix '{path.suffix}'; expected {' or '.join(SUFFIXES)} (python -m"
            f" jaxmodels.models.inception_weights IN.pth OUT.safetensors converts a PyTorch file)"
        )
    return path


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected the weights of the FID Inception")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxmodels.models.inception_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("IN", help="the published PyTorch file")
    parser.add_argument("OUT", help="the file to write, .safetensors or .npz")
    options = parser.parse_args(arguments)
    try:
        convert(options.IN, options.OUT)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
