"""Presets of experiments.token_classification."""

from jaxmodels.train import Preset

PRESETS: dict[str, Preset] = {}
