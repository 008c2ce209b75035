"""Presets of experiments.language_model."""

from jaxmodels.train import Preset

PRESETS: dict[str, Preset] = {}
