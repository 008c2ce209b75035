"""The engine: everything that touches devices, time and files. It knows only the protocol."""

from jaxmodels.train.command import main, train
from jaxmodels.train.config import (
    Config,
    ModelSection,
    Preset,
    Role,
    RunConfig,
    Section,
    configure,
    require_range,
)
from jaxmodels.train.experiment import Evaluation, Experiment, Findings, Prediction

__all__ = [
    "Config",
    "Evaluation",
    "Experiment",
    "Findings",
    "ModelSection",
    "Prediction",
    "Preset",
    "Role",
    "RunConfig",
    "Section",
    "configure",
    "main",
    "require_range",
    "train",
]
