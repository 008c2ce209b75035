"""Presets of experiments.table."""

from jaxmodels.train import Preset

PRESETS = {
    "diabetes": Preset(
        flags={"data": "diabetes", "steps": 500, "learning_rate": 3e-4},
        source="442 patients with ten measurements (Efron et al. 2004, Least Angle Regression)",
        expected="an r2 near that of ridge regression on the same rows, 0.58",
        cost="seconds on two CPU cores",
    ),
}
