"""Run folders written by hand, among them one whose every name is an attack."""

import json
import math
import struct
import wave
from pathlib import Path

import numpy as np

ATTACK = "<script>document.title='hacked'</script>"
CLOSING = "</script><!--<script>"
QUOTES = "\"'><img src=x onerror=\"document.title='hacked'\">"
SCORES = {
    "accuracy": {"better": "higher", "unit": "", "meaning": "share of examples that are right"},
    "loss": {"better": "lower", "unit": "nats", "meaning": "cross-entropy of the labels"},
}


def write_run(
    folder: Path,
    accuracy: float = 0.9,
    class_names: tuple[str, ...] = ("cat", "dog"),
    config: dict | None = None,
    steps: int = 100,
    **record: object,
) -> Path:
    """Writes a finished classifier's folder; `record` replaces fields of config.json."""
    folder.mkdir(parents=True)
    flags = {"data": "digits", "model": "cnn", "steps": steps, "batch_size": 32, "seed": 0}
    content = {
        "experiment": "classifier",
        "command": f"python -m experiments.classifier --steps {steps}",
        "monitor": ["accuracy", "max"],
        "scores": SCORES,
        "config": flags | (config or {}),
        "identity": {},
        "source": "0123",
        "facts": {"data": {"name": "digits", "splits": {"train": 1280, "test": 360}}},
        "environment": {"device_kind": "cpu", "device_count": 1, "packages": {"jax": "0.10.2"}},
    }
    (folder / "config.json").write_text(json.dumps(content | record))
    lines = []
    for step in range(10, steps + 1, 10):
        lines.append({"step": step, "split": "train", "loss": 3 * 0.9**step})
        if step % 20 == 0:
            score = accuracy - 0.5 / step if step < steps else accuracy - 0.1
            validation = {"loss": 4 * 0.9**step, "accuracy": score}
            lines.append({"step": step, "split": "validation", **validation})
    lines.append({"step": steps, "split": "test", "loss": 0.5, "accuracy": accuracy})
    write_lines(folder / "metrics.jsonl", lines)
    speed = [
        {
            "step": step,
            "steps_per_second": 50.0,
            "examples_per_second": 1600.0,
            "seconds": step / 50,
        }
        for step in range(10, steps + 1, 10)
    ]
    write_lines(folder / "speed.jsonl", speed)
    count = len(class_names)
    scores = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 4}
    report = {
        "step": steps,
        "per_class": dict.fromkeys(class_names, scores),
        "macro": scores,
        "confusion": (np.eye(count, dtype=int) * 3 + np.eye(count, k=1, dtype=int)).tolist(),
    }
    (folder / "evaluation.json").write_text(json.dumps({"test": report}))
    return folder


def hostile_run(folder: Path, **changes: object) -> Path:
    """Writes a run with markup in the names of its classes, scores, splits, flags, facts and
    samples, and in what its scores mean and its texts say."""
    write_run(
        folder,
        class_names=(ATTACK, CLOSING, QUOTES),
        config={"data": ATTACK, "model": QUOTES, "hidden": [CLOSING], ATTACK: {QUOTES: ATTACK}},
        experiment=ATTACK,
        command=f"python -m experiments.classifier --data '{ATTACK}' --hidden '{CLOSING}'",
        facts={ATTACK: CLOSING},
        scores=SCORES | {ATTACK: {"better": "lower", "unit": QUOTES, "meaning": CLOSING}},
        environment={"device_kind": ATTACK, "packages": {"jax": QUOTES}, "git_commit": ATTACK},
        **changes,
    )
    with open(folder / "metrics.jsonl", "a") as file:
        for step in (20, 40, 60):
            line = {"step": step, "split": CLOSING, ATTACK: step, QUOTES: None}
            file.write(json.dumps(line) + "\n")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation[ATTACK] = {"step": 3, "protocol": {ATTACK: [QUOTES, {CLOSING: ATTACK}]}}
    evaluation["best"] = {"step": 80, "scores": {QUOTES: ATTACK}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    for name in ("<b onclick=x>", *(f"step-{step:08d}" for step in (20, 40, 60))):
        write_picture(folder / "samples" / f"{name}.png")
        write_sound(folder / "samples" / f"{name}.wav")
        (folder / "samples" / f"{name}.txt").write_text("\n".join([ATTACK, CLOSING, QUOTES] * 9))
    line = {ATTACK: CLOSING, "text": [QUOTES]}
    write_lines(folder / "samples" / "predictions.jsonl", [line] * 20)
    return folder


def write_lines(path: Path, lines: list[dict]) -> None:
    """Writes a file of JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_picture(path: Path, size: int = 16) -> None:
    """Writes a square grey PNG file."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(path)


def write_sound(path: Path, seconds: float = 0.25, hertz: float = 440.0) -> None:
    """Writes a WAV file of one tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 8000
    levels = (math.sin(2 * math.pi * hertz * n / rate) for n in range(int(seconds * rate)))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("<h", int(12_000 * level)) for level in levels))
