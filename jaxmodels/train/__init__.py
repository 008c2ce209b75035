"""The engine: all that touches devices, time and files. It knows the objective protocol only."""

from jaxmodels.train.command import main, train
from jaxmodels.train.config import TrainConfig, require_range
from jaxmodels.train.experiment import Evaluation, Experiment, Source

__all__ = ["Evaluation", "Experiment", "Source", "TrainConfig", "main", "require_range", "train"]
