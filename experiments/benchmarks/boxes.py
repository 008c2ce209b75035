"""Seconds of processor time that boxes cost: augmentation in the compiled loop, and COCO's AP.

    python -m experiments.benchmarks.boxes

The AP is also computed by pycocotools, and the largest difference is printed.
"""

import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.metrics.average_precision import average_precision, by_pycocotools
from jaxmodels.objectives.box_augmentation import BoxAugmentationConfig, make_box_augmentation

_PICTURES, _HEIGHT, _WIDTH, _MOST, _STEPS = 16, 240, 320, 32, 4
_CHANGES = {
    "flips": {"flip": True, "vertical_flip": True},
    "scale": {"flip": True, "scale_jitter": (0.6, 1.5)},
    "mosaic": {"flip": True, "scale_jitter": (0.6, 1.5), "mosaic": 0.5},
    "mixup": {"flip": True, "scale_jitter": (0.6, 1.5), "mosaic": 0.5, "picture_mixup": 0.2},
    "colour": {"color_jitter": (0.3,)},
    "colour and hue": {"color_jitter": (0.3, 0.3, 0.3, 0.1)},
    "erasing": {"erasing": 0.3},
}


def batch_of_boxes() -> dict[str, jax.Array]:
    """Makes a batch of noise with boxes."""
    random = np.random.default_rng(0)
    corner = random.uniform(0, 200, (_PICTURES, _MOST, 2))
    boxes = np.concatenate([corner, corner + 40], axis=-1).astype(np.float32)
    image = random.integers(0, 256, (_PICTURES, _HEIGHT, _WIDTH, 3), np.uint8)
    columns = {
        "image": image,
        "boxes": boxes,
        "labels": random.integers(0, 3, (_PICTURES, _MOST)).astype(np.int32),
        "crowd": np.zeros((_PICTURES, _MOST), bool),
        "scale": np.full(_PICTURES, 0.5, np.float32),
        "size": np.full((_PICTURES, 2), (2 * _HEIGHT, 2 * _WIDTH), np.int32),
    }
    return {name: jnp.asarray(column) for name, column in columns.items()}


def augmentation_seconds(flags: dict, batch: dict[str, jax.Array]) -> float:
    """Measures the processor time of one augmented batch."""
    augment = make_box_augmentation(BoxAugmentationConfig(**flags))
    assert augment is not None

    @jax.jit
    def loop(batch, key):
        def add(step, total):
            changed = augment(batch, jax.random.fold_in(key, step))
            return total + jnp.mean(changed["image"].astype(jnp.float32)) + changed["boxes"].sum()

        return jax.lax.fori_loop(0, _STEPS, add, jnp.zeros(()))

    def run():
        start = time.process_time()
        loop(batch, jax.random.key(0)).block_until_ready()
        return (time.process_time() - start) / _STEPS

    run()
    return min(run() for _ in range(3))


def detections(pictures: int, classes: int, most: int, objects: int) -> tuple:
    """Makes detections of which about half are near objects."""
    random = np.random.default_rng(0)

    def boxes(*shape):
        corner = random.uniform(0, 400, (*shape, 2))
        return np.concatenate([corner, corner + random.uniform(8, 200, (*shape, 2))], axis=-1)

    truth, found = [], boxes(pictures, most).astype(np.float32)
    labels = random.integers(0, classes, (pictures, most))
    for picture in range(pictures):
        count = int(random.integers(1, 2 * objects))
        crowd = random.random(count) < 0.02
        true = SimpleNamespace(
            boxes=boxes(count), labels=random.integers(0, classes, count), crowd=crowd
        )
        chosen = random.integers(0, count, most // 2)
        found[picture, : most // 2] = true.boxes[chosen] + random.normal(0, 5, (most // 2, 4))
        labels[picture, : most // 2] = true.labels[chosen]
        truth.append(true)
    scores = random.random((pictures, most)).astype(np.float32)
    return SimpleNamespace(boxes=found, scores=scores, labels=labels), truth, classes


def main() -> None:
    """Prints all times."""
    batch = batch_of_boxes()
    for name, flags in _CHANGES.items():
        seconds = augmentation_seconds(flags, batch)
        print(f"{name}: {1e3 * seconds:.1f} ms for {_PICTURES} pictures of {_WIDTH}x{_HEIGHT}")
    for sizes in ((72, 3, 100, 13), (2500, 80, 100, 7)):
        case, times, results = detections(*sizes), [], []
        for function in (average_precision, by_pycocotools):
            start = time.process_time()
            results.append(function(*case).precision)
            times.append(time.process_time() - start)
        difference = np.abs(results[0] - results[1]).max()
        print(
            f"AP of {sizes[0]:,} pictures, {sizes[1]} classes: {times[0]:.2f} s, pycocotools"
            f" {times[1]:.2f} s, largest difference {difference:.0e}"
        )


if __name__ == "__main__":
    main()
