"""Presets of experiments.detection. Those of BCCD need --data-dir, with bccd in it."""

from jaxmodels.train import Preset

_NOT_MEASURED = "not yet measured"
_BCCD = {
    "data": "bccd",
    "image_size": (240, 320),
    "batch_size": 16,
    "eval_every": 390,
    "checkpoint_every": 130,
    "log_every": 65,
    "steps_per_dispatch": 13,
    "flip": True,
    "vertical_flip": True,
}

PRESETS = {
    "bccd": Preset(
        flags={**_BCCD, "steps": 2600},
        source="Tian et al. 2019 with the assignment of Feng et al. 2021, from scratch",
        expected="AP 0.572, AP50 0.890 on the 72 test pictures (seed 0)",
        cost="40 minutes of one core",
        command="--data-dir DIR",
    ),
    "bccd-dn-detr": Preset(
        flags={
            **_BCCD,
            "model": "dn_detr",
            # More than there are good places: each object has several, and no suppression.
            "queries": 300,
            # With the finest, of stride 8: a platelet has hardly more than one place of stride 16.
            "memory_levels": 3,
            "steps": 2600,
            "learning_rate": 1e-3,
            "clip": 1.0,
        },
        source="Li et al. 2022 and Zhang et al. 2023, with a dense head, from scratch",
        expected=_NOT_MEASURED,
        cost=_NOT_MEASURED,
        command="--data-dir DIR",
    ),
    "bccd-detr": Preset(
        flags={
            **_BCCD,
            "model": "detr",
            "backbone": "resnet18",
            "steps": 2600,
            # All at one rate: no backbone is trained already.
            "learning_rate": 1e-4,
            "weight_decay": 1e-4,
            "clip": 0.1,
        },
        source="Carion et al. 2020, section 4, on a ResNet-18, from scratch",
        expected=_NOT_MEASURED,
        cost=_NOT_MEASURED,
        command="--data-dir DIR",
    ),
    "bccd-lite0": Preset(
        flags={**_BCCD, "backbone": "lite0", "steps": 1300, "learning_rate": 1e-3},
        source="the same with EfficientNet-Lite0's published weights",
        expected=_NOT_MEASURED,
        cost=_NOT_MEASURED,
        command="--init-from DIR --data-dir DIR",
    ),
}
