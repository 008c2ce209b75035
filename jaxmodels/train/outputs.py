"""What the modes that write a file have in common: the file, and the checkpoint they read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from jaxmodels.errors import InputError
from jaxmodels.protocol import State
from jaxmodels.train.layout import on_host
from jaxmodels.train.trainer import Trainer


def output_of(output: str | None, ending: str | Iterable[str], folder: bool = False) -> Path:
    """Returns the file to write.

    ending: of the file, or those that it may have. folder: whether a path without an ending may
      name a folder to make.

    Raises:
      InputError: none is named, or none that can be written.
    """
    endings = [ending] if isinstance(ending, str) else list(ending)
    path = Path(output or "")
    fits = bool(output) and (path.suffix in endings or (folder and not path.suffix))
    if not fits:
        wanted = " or ".join(f"--output FILE{ending}" for ending in endings)
        wanted += ", or a folder of PNGs, --output FOLDER" if folder else ""
        raise InputError(f"output = {output}; expected a file to write, {wanted}")
    if not path.parent.is_dir():
        raise InputError(
            f"output = {output}; there is no folder {path.parent}: make it, or name another file"
        )
    if not path.suffix and path.exists():
        raise InputError(f"output = {output}; it exists: name a folder that is to be made")
    return path


def restored_of(trainer: Trainer) -> tuple[int, State]:
    """Returns step and state of the checkpoint that the config names; without a run, the state that
    one would start with, where it starts from weights.

    Raises:
      InputError: there is none.
    """
    restored = trainer.restored()
    if restored is None and trainer.experiment.start:
        return 0, trainer.create()
    if restored is None:
        raise InputError(f"workdir {trainer.folder.path} has no checkpoint; train the run first")
    return restored.step, restored.tree["state"]


def on_one_device(state: State) -> Any:
    """Copies a state to the first device."""
    return jax.device_put(on_host(state), jax.local_devices()[0])
