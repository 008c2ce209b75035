"""Loads the weights of `FIDInception` from a file, and converts the published PyTorch file.

    python -m jaxmodels.models.inception_weights IN.pth OUT.safetensors

IN is `pt_inception-2015-12-05-6726825d.pth` from
https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, or torch-fidelity's
`weights-inception-2015-12-05-6726825d.pth`. OUT, .safetensors or .npz, holds float32 arrays named
"Conv2d_1a_3x3/conv/kernel" and so on, kernels [height, width, inputs, outputs]. Either loads.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically
from jaxmodels.models.inception import FIDInception
from jaxmodels.pretrained import Entry, Published, load, open_weights, save_file
from jaxmodels.pretrained.names import CONVOLUTION, PLAIN, TRANSPOSED

_LAYOUTS = {2: TRANSPOSED, 4: CONVOLUTION}  # of kernels, by their axes
_TARGETS = (".safetensors", ".npz")


def load_inception(path: str | Path) -> dict:
    """Loads the variables of `FIDInception` from the published file or one by `convert`.

    Raises:
      InputError: no such file, another suffix, an unreadable file, names or shapes that are not
        those of the network, or numbers that are not finite.
    """
    weights = open_weights(path)
    variables = {f"params/{name}": leaf for name, leaf in _shapes().items()}
    is_published = any(name.endswith(".weight") for name in weights)
    table = _published() if is_published else _converted()
    return load(weights, table, unflatten_dict(variables, sep="/"))


def convert(source: str | Path, target: str | Path) -> None:
    """Converts the published PyTorch file to a smaller one in our names and layout.

    Raises:
      InputError: as `load_inception`; or `target` has another suffix or cannot be written.
    """
    target = Path(target)
    if target.suffix not in _TARGETS:
        expected = " or ".join(_TARGETS)
        raise InputError(f"{target} has suffix '{target.suffix}'; expected {expected}")
    variables = load_inception(source)
    try:
        if target.suffix == ".npz":
            named = flatten_dict(variables["params"], sep="/")
            arrays = {name: np.asarray(array) for name, array in named.items()}
            write_atomically(target, lambda file: np.savez(file, **arrays))
        else:
            save_file(target, variables, _converted())
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None


def _published() -> Published:
    """The names of the PyTorch file."""

    def entry(path: str, axes: int) -> Entry:
        is_kernel = path.endswith("kernel")
        name = path.removesuffix("kernel") + "weight" if is_kernel else path
        layout = _LAYOUTS[axes] if is_kernel else PLAIN
        return Entry(name.replace("/", "."), (f"params/{path}",), layout)

    return Published(
        tuple(entry(path, len(leaf.shape)) for path, leaf in _shapes().items()),
        # The file counts steps of training, and has a bias that scores do not use.
        ignored=(r"num_batches_tracked$", r"^fc\.bias$"),
    )


def _converted() -> Published:
    """The names of files by `convert`, which are ours."""
    return Published(tuple(Entry(path, (f"params/{path}",)) for path in _shapes()))


@cache
def _shapes() -> dict[str, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(FIDInception().init, jax.random.key(0), image)
    return flatten_dict(variables["params"], sep="/")


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
