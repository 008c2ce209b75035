"""The engine: everything that touches devices, time and files. It knows only the protocol."""

from typing import TYPE_CHECKING, Any

from jaxmodels.train.command import main, train
from jaxmodels.train.config import (
    Config,
    ModelSection,
    Preset,
    Role,
    Section,
    configure,
    require_range,
)
from jaxmodels.train.experiment import (
    Elsewhere,
    Evaluation,
    Experiment,
    Findings,
    Prediction,
    Texts,
)
from jaxmodels.train.run_config import ComputeConfig, RunConfig

if TYPE_CHECKING:
    from jaxmodels.train.modes import load_run

__all__ = [
    "ComputeConfig",
    "Config",
    "Elsewhere",
    "Evaluation",
    "Experiment",
    "Findings",
    "ModelSection",
    "Prediction",
    "Preset",
    "Role",
    "RunConfig",
    "Section",
    "Texts",
    "configure",
    "load_run",
    "main",
    "require_range",
    "train",
]


def __getattr__(name: str) -> Any:
    # Its module takes seconds to import, which --help need not wait for.
    if name == "load_run":
        from jaxmodels.train import modes

        return modes.load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
