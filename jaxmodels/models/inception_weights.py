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
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError

from jaxmodels.errors import InputError
from jaxmodels.models.inception import FIDInception

SUFFIXES = (".safetensors", ".npz")
_SHOWN = 10
# The file leaves out a count of training steps, and the bias that scores do not use.
_UNUSED = ("num_batches_tracked", "fc/bias")


def load_inception(path: str | Path) -> dict:
    """Loads the variables of `FIDInception` from a .safetensors or .npz file by `convert`.

    Raises:
      InputError: no such file, another suffix, an unreadable file, or names or shapes that are not
        those of the network.
    """
    path = _with_known_suffix(path)
    _require_file(path)
    try:
        if path.suffix == ".npz":
            # The file is opened here, because numpy does not close a file that it cannot read.
            with open(path, "rb") as file, np.load(file) as archive:
                weights = dict(archive)
        else:
            weights = safetensors.numpy.load_file(path)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, SafetensorError) as error:
        raise InputError(f"{path} is not readable as {path.suffix}: {_first_line(error)}") from None
    _check(path, weights)
    weights = {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()}
    return {"params": unflatten_dict(weights, sep="/")}


def convert(source: str | Path, target: str | Path) -> None:
    """Converts the published PyTorch file to a file for `load_inception`.

    Raises:
      InputError: as `load_inception`; torch is not installed, or `target` cannot be written.
    """
    source, target = Path(source), _with_known_suffix(target)
    _require_file(source)
    weights = {}
    for name, value in _read_torch(source).items():
        name = name.replace(".", "/")
        if not name.endswith(_UNUSED):
            weights.update([_in_flax_layout(name, value)])
    _check(source, weights)
    try:
        if target.suffix == ".npz":
            np.savez(target, **weights)
        else:
            target.write_bytes(safetensors.numpy.save(weights))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"reading {path} needs torch, which is not installed; pip install torch (any machine"
            " may convert)"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.float().numpy() for name, value in state.items()}
    except (AttributeError, EOFError, RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} is not a PyTorch file of named tensors: {_first_line(error)}"
        ) from None


def _in_flax_layout(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Renames and transposes torch's kernels [outputs, inputs, (height, width)]; keeps the rest."""
    if value.ndim < 2:
        return name, value
    axes = (2, 3, 1, 0) if value.ndim == 4 else range(value.ndim)[::-1]
    # The array is made contiguous, because safetensors writes its memory and ignores strides.
    return name.removesuffix("weight") + "kernel", np.ascontiguousarray(value.transpose(axes))


@cache
def _shapes() -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(FIDInception().init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in flatten_dict(variables["params"], sep="/").items()}


def _check(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    expected = _shapes()
    wrong = {
        "lacks": expected.keys() - weights.keys(),
        "has unknown": weights.keys() - expected.keys(),
    }
    if any(wrong.values()):
        problems = "; ".join(f"{verb} {_listed(names)}" for verb, names in wrong.items() if names)
        raise InputError(f"{path} holds other weights than the FID Inception's: it {problems}")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise InputError(f"{path}: {name} has shape {weights[name].shape}; expected {shape}")


def _listed(names: Collection[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(sorted(names)[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
