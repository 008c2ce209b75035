"""Presets of experiments.table."""

from jaxmodels.train import Preset

PRESETS: dict[str, Preset] = {}
