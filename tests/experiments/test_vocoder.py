"""A vocoder from a folder of sounds to the sounds of a synthesis."""

import json

import pytest
import soundfile

from experiments.parts.speech_frames import FramesConfig
from experiments.parts.speech_vocoder import Sounding, SoundingConfig
from experiments.speech_synthesis import SpeechSynthesisConfig
from experiments.speech_synthesis import build as build_synthesis
from experiments.vocoder import PRESETS, VocoderConfig, build
from jaxmodels.errors import InputError
from jaxmodels.train import configure, main, train
from tests.data.audio.recordings import CLASSES, RATE, tone, write, write_classes
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices
from tests.experiments.test_speech_commands import flags_of, summary
from tests.experiments.test_speech_synthesis import SMALL as SYNTHESIS

FRAMES = {"bands": 16, "window": 0.032, "hop": 0.008}
SMALL = {**FRAMES, "width": 8, "depth": 1, "periods": (2,), "period_channels": (2, 2)}
SMALL |= {"resolution_channels": 2, "segment": 0.128, "mesh": "data=1", "log_every": 2}
SMALL |= {"batch_size": 8, "steps": 6, "eval_every": 6}


def run(**flags):
    return main(VocoderConfig, build, PRESETS, flags_of(flags))


def test_windows_and_frames_that_cannot_be(tmp_path):
    data = {"train": [(tone(300, n), "low") for n in range(4)], "test": [(tone(300, 9), "low")]}
    config = configure(VocoderConfig(), **{**SMALL, "segment": 0.05, "rate": RATE})
    with pytest.raises(InputError, match="a window of 200 samples at 4000 Hz: expected at least"):
        build(config, data)
    with pytest.raises(InputError, match="expected a hop of at most half of the window"):
        FramesConfig(window=0.01, hop=0.008).validate()
    missing = SoundingConfig(vocoder=str(tmp_path / "none"))
    with pytest.raises(InputError, match="the run has no checkpoint: train it first"):
        Sounding(missing, config.frames.mel(RATE))


@pytest.mark.slow
def test_a_folder_of_sounds_to_the_sounds_of_a_synthesis(tmp_path, capsys):
    data, workdir = write_classes(tmp_path / "words", 20), tmp_path / "run"
    assert run(data=data, workdir=workdir, **SMALL) == 0
    found = summary(capsys.readouterr().out)
    names = [name for name in found if name.startswith("test/")]
    scores = ("mel_distance", "spectral_distance")
    rival = [f"griffin_lim_{name}" for name in scores]
    assert names == [f"test/{name}" for name in (*scores, *rival)]
    record = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert "60 iterations" in record["protocol"]["griffin_lim"]
    played = {path.stem: soundfile.info(path) for path in (workdir / "samples").glob("*.wav")}
    kinds = ("recorded", "vocoded", "griffin-lim")
    own = {f"test-{name}-{kind}" for name in CLASSES for kind in kinds}
    assert own < set(played) and {some.samplerate for some in played.values()} == {RATE}
    assert (workdir / "samples/spectrograms.png").exists()
    new, output = tmp_path / "new", tmp_path / "made.jsonl"
    write(new / "a.wav", tone(300, 77, 0.15)), (new / "b.wav").write_bytes(b"broken")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines[0]["audio"] == "made-1.wav" and lines[0]["mel_distance"] > 0
    assert soundfile.info(tmp_path / "made-1.wav").frames == 600 and "error" in lines[1]

    # A synthesis is trained without it, and says the same words through it.
    said = {"train": [(tone(f, n), name) for name, f in CLASSES.items() for n in range(8)]}
    said["test"] = [(tone(f, 9), name) for name, f in CLASSES.items()]
    flags = {**SYNTHESIS, **FRAMES, "rate": RATE, "validation_fraction": 0.0}
    config = configure(SpeechSynthesisConfig(), **flags, workdir=str(tmp_path / "plain"))
    train(build_synthesis, config, said)
    vocoded = configure(config, workdir=str(tmp_path / "vocoded"), vocoder=str(workdir))
    train(build_synthesis, vocoded, said)
    reports = [
        json.loads((tmp_path / name / "evaluation.json").read_text())["test"]
        for name in ("plain", "vocoded")
    ]
    assert reports[0]["phases"] == "Griffin-Lim, 8 iterations"
    assert reports[1]["vocoder"]["step"] == 6 and len(reports[1]["vocoder"]["fingerprint"]) == 16
    both = [(tmp_path / name / "samples/said-test-low.wav") for name in ("plain", "vocoded")]
    assert both[0].read_bytes() != both[1].read_bytes()
    with pytest.raises(InputError, match="bands 16 instead of 20"):
        build_synthesis(configure(vocoded, bands=20), said)
    with pytest.raises(InputError, match="it is a run of speech_synthesis: expected one of"):
        build_synthesis(configure(vocoded, vocoder=str(tmp_path / "plain")), said)


@pytest.mark.campaign
@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    examples = [(tone(f, n, 0.1 + 0.01 * n), name) for name, f in CLASSES.items() for n in range(9)]
    others = [(tone(f, 50 + n), name) for name, f in CLASSES.items() for n in range(2)]
    data = {"train": examples, "test": others}
    flags = {**SMALL, "rate": RATE, "validation_fraction": 0.0, "steps_per_dispatch": 2}
    flags |= {"optimizer": "momentum", "learning_rate": 0.001, "weight_decay": 0.0}
    config = configure(VocoderConfig(), **flags)
    whole = resumed_to_the_bit(build, config, data, tmp_path, step=2)
    other = configure(config, mesh="", workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-3)
