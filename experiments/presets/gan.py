"""Presets of experiments.gan: each loss with what keeps it stable, where possible as published."""

from jaxmodels.train import Preset

_DIGITS = "no collapse in ten seeds of the digits (experiments/RESULTS.md, GAN stability)"
_MINUTES = "a few minutes on two CPU cores"

PRESETS = {
    "dcgan": Preset(
        flags={
            "width": 64,
            "latent_size": 100,
            "conditional": False,
            "steps": 3000,
            "batch_size": 128,
            "learning_rate": 2e-4,
            "schedule": "constant",
            "ema": 0.0,
        },
        source="Radford et al. 2016, as in the DCGAN of PyTorch's examples, at the data's own size",
        expected="samples like those of the tutorial",
        cost=_MINUTES,
    ),
    "minimax": Preset(
        flags={"loss": "minimax", "norm": "none", "r1": 0.1, "lazy": 8},
        source="Goodfellow et al. 2014, eq. 1. It saturates when the discriminator wins, which R1"
        " prevents",
        expected=_DIGITS,
        cost=_MINUTES,
    ),
    "least_squares": Preset(
        flags={"loss": "least_squares", "learning_rate": 1e-3},
        source="Mao et al. 2017",
        expected=_DIGITS,
        cost=_MINUTES,
    ),
    "wgan_gp": Preset(
        flags={
            "loss": "wasserstein",
            "norm": "layer",
            "gradient_penalty": 10.0,
            "critic_steps": 5,
            "learning_rate": 5e-4,
            "momentum": 0.0,
            "second_momentum": 0.9,
        },
        source="Gulrajani et al. 2017: five critic updates a step, Adam (0, 0.9), no BatchNorm in"
        " the critic",
        expected=_DIGITS,
        cost=_MINUTES,
    ),
    "sngan": Preset(
        flags={"loss": "hinge", "norm": "spectral", "learning_rate": 1e-3},
        source="Miyato et al. 2018: hinge loss and spectral normalisation; --model sngan has their"
        " networks",
        expected=_DIGITS,
        cost=_MINUTES,
    ),
    "r3gan": Preset(
        flags={
            "loss": "relativistic",
            "norm": "none",
            "r1": 0.1,
            "r2": 0.1,
            "lazy": 4,
            "learning_rate": 1e-3,
            "momentum": 0.0,
            "second_momentum": 0.99,
        },
        source="Huang et al. 2024: relativistic pairs, R1 and R2; --model r3gan has their networks",
        expected=_DIGITS,
        cost=_MINUTES,
    ),
}
