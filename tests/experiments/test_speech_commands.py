"""Classifiers of sounds from a folder to predictions: report, speakers, resume, devices."""

import base64
import io
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from experiments.speech_commands import (
    PRESETS,
    SpectrogramConfig,
    SpeechCommandsConfig,
    build,
    spectrograms,
)
from jaxmodels.train import configure, load_run, main, train
from tests.data.audio.recordings import CLASSES, RATE, tone, write, write_classes
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices

SMALL = {"model": "kwt", "width": 8, "depth": 1, "heads": 1, "bands": 10, "window": 0.03}
SMALL |= {"steps": 30, "batch_size": 16, "eval_every": 30, "learning_rate": 0.01}
SMALL |= {"hop": 0.02, "mesh": "data=1"}


def flags_of(values):
    words = []
    for name, value in values.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def run(**flags):
    return main(SpeechCommandsConfig, build, PRESETS, flags_of(flags))


def summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


def seen(level, sounds, samples=1600, **options):
    """What a model sees of sounds in the middle of rows of so many samples."""
    sounds = np.asarray(sounds, np.float32)
    around = (samples - sounds.shape[1]) // 2
    rows = jnp.pad(sounds, ((0, 0), (around, around)))
    batch = {"sound": rows, "length": jnp.full(len(rows), sounds.shape[1], jnp.int32)}
    config = SpectrogramConfig(bands=10, level=level, **options)
    return np.asarray(spectrograms(config, config.mel(RATE), batch, None)["spectrogram"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"coefficients": 5}])
def test_without_their_level_sounds_look_alike_however_loud_and_however_long_their_rows(options):
    noise = np.random.default_rng(0).normal(size=800)
    filtered = np.convolve(noise, [1, 0.4])[:800]
    far = {}
    for level in ("removed", "bands"):
        plain, loud, other = seen(level, [noise, 10 * noise, filtered], **options)
        np.testing.assert_allclose(plain, loud, atol=1e-3)
        far[level] = np.abs(plain - other).mean()
        # A hop is 40 samples: in the shorter row the sound begins 5 frames earlier.
        (shorter,) = seen(level, [noise], 1200, **options)
        np.testing.assert_allclose(plain[5:-5], shorter, atol=1e-4)
        assert not plain[:10].any() and plain[10:31].all() and not plain[31:].any()
    assert far["bands"] < 0.1 and far["removed"] > 2 * far["bands"]
    kept = seen("kept", [noise, 10 * noise], **options)
    assert np.abs(kept[0] - kept[1]).max() > 4


@pytest.mark.slow
def test_a_folder_of_sounds_to_a_file_of_labels(tmp_path, capsys):
    data, workdir = write_classes(tmp_path / "words", 20), tmp_path / "run"
    flags = {"noise": 0.5, "shift": 0.1, "time_masks": (1, 3), "level": "removed"}
    assert run(data=data, workdir=workdir, **SMALL, **flags) == 0
    found = summary(capsys.readouterr().out)
    names = [name for name in found if name.startswith("test/")]
    scores = ("loss", "accuracy", "top5", "precision", "recall", "f1", "ece")
    assert names == [f"test/{name}" for name in scores]
    assert float(found["test/accuracy"]) == 1
    report = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert report["per_class"].keys() == CLASSES.keys() and report["worst"] == []
    samples = workdir / "samples"
    assert "none: all are right" in (samples / "mistakes-test.txt").read_text()
    assert (samples / "confusion.png").exists() and (samples / "spectrograms.png").exists()
    # What plays is what was learned from.
    heard, rate = soundfile.read(samples / "class-test-low.wav", dtype="int16")
    all_sounds = [tone(300, number).tolist() for number in range(20)]
    assert rate == RATE and heard.tolist() in all_sounds
    page = (workdir / "report.html").read_text()
    played = re.findall(r"data:audio/wav;base64,([A-Za-z0-9+/=]+)", page)
    files = {path.read_bytes() for path in samples.glob("*.wav")}
    assert {base64.b64decode(content) for content in played} == files and len(files) >= 2
    new, output = tmp_path / "new", tmp_path / "new.jsonl"
    write(new / "b.wav", tone(300, 77)), write(new / "c/d.wav", tone(1200, 78))
    (new / "a.wav").write_bytes(b"broken")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    assert "count=3 failed=1" in capsys.readouterr().out
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["input"] for line in lines] == ["a.wav", "b.wav", "c/d.wav"]
    assert [line.get("label") for line in lines] == [None, "low", "high"]
    assert sum(lines[1]["probabilities"].values()) == pytest.approx(1)
    assert lines[0]["error"].startswith("cannot be decoded")
    other = write_classes(tmp_path / "other", 2, seed=90)
    assert run(workdir=workdir, mode="evaluate", data=other) == 0
    found = json.loads((workdir / "evaluation-other.json").read_text())
    assert found["splits"]["train"]["accuracy"] == 1


@pytest.mark.slow
def test_the_worst_mistakes_are_listed_and_play(tmp_path):
    examples = [(tone(f, n), name) for name, f in CLASSES.items() for n in range(20)]
    wrong = [(tone(300, 50 + number), "high") for number in range(2)]
    data = {"train": examples, "test": [*wrong, (tone(1200, 60), "high")]}
    config = configure(SpeechCommandsConfig(), **SMALL, rate=RATE, validation_fraction=0.0)
    train(build, configure(config, workdir=str(tmp_path)), data)
    worst = json.loads((tmp_path / "evaluation.json").read_text())["test"]["worst"]
    assert {(one["true"], one["predicted"]) for one in worst} == {("high", "low")}
    row = int(worst[0]["input"])
    content = (tmp_path / "samples/mistake-test-1.wav").read_bytes()
    heard, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    np.testing.assert_array_equal(heard, data["test"][row][0])
    assert not (tmp_path / "samples/mistake-test-3.wav").exists()
    assert "high > low" in (tmp_path / "samples/mistakes-test.txt").read_text()


@pytest.mark.slow
def test_one_run_for_each_speaker(tmp_path, capsys):
    for person in ("ann", "bob"):
        for name, frequency in CLASSES.items():
            for number in range(12):
                sound = tone(frequency, 100 * ord(person[0]) + number)
                write(tmp_path / "words" / name / f"1_{person}_{number}.wav", sound)
    flags = {**SMALL, "data": tmp_path / "words", "folds": "speakers", "workdir": tmp_path / "all"}
    assert run(**flags) == 0
    out = capsys.readouterr().out.splitlines()
    assert summary(out[-1])["finished"] == "2"
    for person in ("ann", "bob"):
        record = json.loads((tmp_path / f"all/fold-{person}/config.json").read_text())
        assert record["facts"]["data"]["left_out"] == person
        assert record["facts"]["data"]["splits"]["test"] == 24
        report = json.loads((tmp_path / f"all/fold-{person}/evaluation.json").read_text())
        assert report["test"]["accuracy_of_speakers"].keys() == {person}


@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    examples = [(tone(f, n), name) for name, f in CLASSES.items() for n in range(12)]
    others = [(tone(f, 50 + n), name) for name, f in CLASSES.items() for n in range(4)]
    data = {"train": examples, "test": others}
    flags = {**SMALL, "steps": 8, "log_every": 2, "eval_every": 4, "steps_per_dispatch": 2}
    # Adam would amplify the rounding of gradients that are truly zero.
    flags |= {"optimizer": "momentum", "learning_rate": 0.01, "weight_decay": 0.0, "rate": RATE}
    flags |= {"dropout": 0.2, "speed": 0.1, "shift": 0.1, "gain": 6.0, "noise": 0.5}
    flags |= {"time_masks": (1, 3), "band_masks": (1, 2), "validation_fraction": 0.0}
    config = configure(SpeechCommandsConfig(), **flags)
    whole = resumed_to_the_bit(build, config, data, tmp_path)
    config = configure(config, mesh="", workdir=str(tmp_path / "many"))
    same_on_other_devices(build, config, data, whole, 1e-3)
    lines = load_run(tmp_path / "whole").predict([sound for sound, _ in data["test"]])
    hits = [line["label"] == label for line, (_, label) in zip(lines, data["test"])]
    assert whole.scores["test"]["accuracy"] == pytest.approx(np.mean(hits))


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    data = write_classes(tmp_path / "words", 3)
    flags = {"data": data, "workdir": tmp_path / "run"}
    for wrong, reason in (
        ({"window": 0.005}, "expected 0 < hop <= it"),
        ({"bands": 200}, "leave band"),
        ({"coefficients": 41}, "at most as many coefficients"),
        ({"model": "lstm"}, "unknown model"),
    ):
        assert run(**flags, **wrong) == 2
        assert reason in capsys.readouterr().err
