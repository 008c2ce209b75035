"""Presets of experiments.sentiment."""

from jaxmodels.train import Preset

PRESETS: dict[str, Preset] = {}
